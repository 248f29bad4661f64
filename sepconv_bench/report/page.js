// What a page gains where scripts run: tables that sort and filter, and a word about the point under the mouse.
"use strict";

const number = (text) => {
  const found = /^[<>=\s]*(-?[\d,]*\.?\d+(?:e[-+]?\d+)?)/i.exec(text);
  return found ? parseFloat(found[1].replaceAll(",", "")) : NaN;
};

function sortBy(table, column, button) {
  const body = table.tBodies[0];
  const heading = button.parentElement;
  const descending = heading.getAttribute("aria-sort") === "ascending";
  for (const other of heading.parentElement.cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
  const rows = Array.from(body.rows, (row) => [row.cells[column].textContent, row]);
  const numeric = !heading.classList.contains("name");
  // What has no number comes last either way.
  const key = ([text]) => { const value = number(text); return Number.isNaN(value) ? (descending ? -Infinity : Infinity) : value; };
  rows.sort(numeric ? (a, b) => key(a) - key(b) : (a, b) => a[0].localeCompare(b[0]));
  if (descending) rows.reverse();
  body.append(...rows.map(([, row]) => row));
}

// "N=64 measured<5 fused": words that the row holds, and columns beside numbers.
function matcher(query, headings) {
  const tests = query.trim().split(/\s+/).filter(Boolean).map((word) => {
    const [, name, sign, value] = /^([^<>=]+)([<>=])(-?[\d.]+)$/.exec(word) || [];
    const column = headings.findIndex((heading) => heading.toLowerCase().split(" ")[0] === (name || "").toLowerCase());
    if (column < 0) return (row) => row.textContent.toLowerCase().includes(word.toLowerCase());
    const holds = { "<": (a, b) => a < b, ">": (a, b) => a > b, "=": (a, b) => a === b }[sign];
    return (row) => holds(number(row.cells[column].textContent), parseFloat(value));
  });
  return (row) => tests.every((test) => test(row));
}

for (const table of document.querySelectorAll("table.sortable")) {
  const headings = Array.from(table.tHead.rows[0].cells, (heading) => heading.textContent);
  const rows = table.tBodies[0].rows;
  let most = Number(table.dataset.rowsAtFirst);
  const region = table.parentElement;
  const label = document.createElement("label");
  const input = document.createElement("input");
  const shown = document.createElement("output");
  const all = document.createElement("button");
  // Of the rows that match only the first are laid out.
  const show = () => {
    const matches = matcher(input.value, headings);
    let count = 0;
    for (const row of rows) {
      row.hidden = !matches(row);
      if (!row.hidden) count += 1;
      row.classList.toggle("more", count > most);
    }
    shown.textContent = input.value.trim() ? ` ${count} of ${rows.length} rows` : "";
    all.hidden = count <= most;
    all.textContent = `Show all ${count} rows`;
  };
  for (const [column, heading] of Array.from(table.tHead.rows[0].cells).entries()) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    button.addEventListener("click", () => { sortBy(table, column, button); show(); });
    heading.append(button);
  }
  input.type = "search";
  input.placeholder = "N=64 measured<5 fused";
  label.className = "filter";
  label.append(`Filter ${region.getAttribute("aria-label").toLowerCase()}: `, input, shown);
  const tools = document.createElement("div");
  tools.className = "tools";
  tools.append(label);
  region.before(tools);
  // What the filter leaves, in the order of the table; also the rows that are not laid out.
  const left = () => [table.tHead.rows[0], ...Array.from(rows).filter((row) => !row.hidden)]
    .map((row) => Array.from(row.cells, (cell) => cell.textContent));
  const button = (text, act) => {
    const made = document.createElement("button");
    made.type = "button";
    made.textContent = text;
    made.addEventListener("click", () => act(made));
    tools.append(made);
  };
  if (navigator.clipboard) {
    button("Copy", (pressed) => {
      const text = left().map((cells) => cells.join("\t")).join("\n");
      navigator.clipboard.writeText(text).then(
        () => { pressed.textContent = "Copied"; }, () => { pressed.textContent = "The browser refuses"; });
    });
  }
  button("Download CSV", () => {
    const quoted = (cell) => (/[",\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([left().map((cells) => cells.map(quoted).join(",")).join("\n") + "\n"], { type: "text/csv" }));
    link.download = `${region.getAttribute("aria-label").toLowerCase()}.csv`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  });
  input.addEventListener("input", show);
  all.type = "button";
  all.className = "all";
  all.addEventListener("click", () => { most = Infinity; show(); });
  region.after(all);
  show();
}

// What a row of the first table says of the point that stands for it.
function describe(row) {
  const table = row.closest("table");
  const cells = Object.fromEntries(Array.from(table.tHead.rows[0].cells, (heading, at) => [heading.textContent, row.cells[at].textContent]));
  const names = Object.keys(cells);
  const axes = names.slice(0, names.indexOf("promised")); // D_K, M, N and D_G are always said, the others where they are not 1
  const sizes = axes.filter((name, at) => cells[name] !== "1" || at < 4);
  return [
    sizes.map((name) => `${name} ${cells[name]}`).join(", "),
    `measured ${cells.measured}x (${cells["95% interval"]})`,
    `promised ${cells.promised}x`,
    `${cells.standard} / ${cells.separable}`,
    cells.why,
  ].join("\n");
}

// On a phone the contents are folded.
const contents = document.querySelector(".contents details");
if (contents && window.matchMedia("(max-width: 60rem)").matches) contents.open = false;

const hint = document.createElement("div");
hint.className = "hint";
hint.hidden = true;
hint.setAttribute("role", "status");
document.body.append(hint);
const REACH = 10; // pixels around a point
for (const picture of document.querySelectorAll("img.live")) {
  const points = Array.from(document.querySelectorAll("tr[data-place]"), (row) => [row, ...row.dataset.place.split(" ").map(Number)]);
  const under = (event) => {
    const box = picture.getBoundingClientRect();
    const away = ([, x, y]) => Math.hypot(box.left + x * box.width - event.clientX, box.top + y * box.height - event.clientY);
    const nearest = points.reduce((best, point) => (away(point) < away(best) ? point : best));
    return away(nearest) <= REACH ? nearest[0] : null;
  };
  picture.closest("figure").querySelector("figcaption").append(" Point at a shape to see it; a click leads to its row.");
  picture.addEventListener("pointermove", (event) => {
    const row = under(event);
    hint.hidden = !row;
    picture.style.cursor = row ? "pointer" : "";
    if (!row) return;
    hint.textContent = describe(row);
    hint.style.left = `${Math.min(event.clientX + 14, window.innerWidth - hint.offsetWidth - 8)}px`;
    hint.style.top = `${event.clientY + 14}px`;
  });
  picture.addEventListener("pointerleave", () => { hint.hidden = true; });
  picture.addEventListener("click", (event) => {
    const row = under(event);
    if (row) location.hash = row.id;
  });
}
