// The explorer: sliders that choose a row of the predictions, and the point that stands for it.
"use strict";

(() => {
  const form = document.getElementById("explorer-sliders");
  const text = document.getElementById("explorer-data");
  if (!form || !text) return;
  document.getElementById("explore").hidden = false;
  const given = JSON.parse(text.textContent);
  const axes = Object.keys(given.sliders);
  const words = {
    roofline: "memory bandwidth", overhead: "fixed cost of a launch", separable: "separable kernel below its roofline",
    standard: "standard kernel below its roofline, which flatters",
  };
  const place = () => axes.reduce((row, axis) => row * given.sliders[axis].length + Number(form.elements[axis].value), 0);
  const times = (value) => `${value.toPrecision(3)}x`;
  let plot = null;

  function show() {
    const device = form.elements.device ? form.elements.device.value : Object.keys(given.devices)[0];
    const table = given.devices[device];
    const row = place();
    const [promised, gain, low, high] = ["theory_speedup", "speedup", "speedup_lo", "speedup_hi"].map((name) => table[name][row]);
    for (const axis of axes) {
      const value = given.sliders[axis][Number(form.elements[axis].value)];
      form.elements[axis].setAttribute("aria-valuetext", String(value));
      document.getElementById(`explorer-${axis}`).textContent = value;
    }
    document.getElementById("explorer-gain").textContent = times(gain);
    document.getElementById("explorer-interval").textContent =
      `${times(low)} to ${times(high)} (${given.confidence * 100}% interval). Promised: ${times(promised)}; ${Math.round(100 * gain / promised)}% of that.`;
    const factors = Object.keys(words).map((name) => [name, table[name][row]]);
    factors.sort((a, b) => a[1] - b[1]);
    const [worst] = factors;
    document.getElementById("explorer-why").textContent = worst[1] < 0.99
      ? `What takes most: ${words[worst[0]]}.` : "Nothing takes from the promise.";
    document.getElementById("explorer-factors").replaceChildren(...factors.map(([name, factor]) => {
      const item = document.createElement("li");
      item.textContent = `${words[name]}: ${times(factor)}`;
      return item;
    }));
    if (!plot) return;
    plot.select_one("measured").data = { x: table.measured.theory_speedup, y: table.measured.speedup };
    plot.select_one("asked").data = { x: [promised], y: [gain], low: [low], high: [high] };
  }

  form.addEventListener("input", show);
  show();
  // The plot is drawn once it comes near the screen: a page opens sooner without it.
  new IntersectionObserver((entries, observer) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    observer.disconnect();
    Bokeh.embed.embed_item(given.plot).then((views) => {
      const [model] = views.roots ?? Array.from(views);
      const { document: shown } = model.model;
      plot = { select_one: (name) => shown.get_model_by_name(name) };
      document.getElementById("explorer-plot").dataset.drawn = "yes";
      show();
    });
  }, { rootMargin: "600px" }).observe(document.getElementById("explorer-plot"));
})();
