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
  for (const [column, heading] of Array.from(table.tHead.rows[0].cells).entries()) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    button.addEventListener("click", () => sortBy(table, column, button));
    heading.append(button);
  }
  const region = table.parentElement;
  const label = document.createElement("label");
  const input = document.createElement("input");
  const shown = document.createElement("output");
  input.type = "search";
  input.placeholder = "N=64 measured<5 fused";
  label.className = "filter";
  label.append(`Filter ${region.getAttribute("aria-label").toLowerCase()}: `, input, shown);
  region.before(label);
  input.addEventListener("input", () => {
    const matches = matcher(input.value, headings);
    let count = 0;
    for (const row of table.tBodies[0].rows) {
      row.hidden = !matches(row);
      count += !row.hidden;
    }
    shown.textContent = input.value.trim() ? ` ${count} of ${table.tBodies[0].rows.length} rows` : "";
  });
}

const hint = document.createElement("div");
hint.className = "hint";
hint.hidden = true;
hint.setAttribute("role", "status");
document.body.append(hint);
for (const figure of document.querySelectorAll(".live")) {
  for (const title of figure.querySelectorAll("a > title")) {
    title.parentElement.dataset.told = title.textContent;
    title.parentElement.setAttribute("aria-label", title.textContent);
    title.remove(); // or the browser would show it a second time
  }
  figure.addEventListener("pointermove", (event) => {
    const point = event.target.closest("a[data-told]");
    hint.hidden = !point;
    if (!point) return;
    hint.textContent = point.dataset.told;
    hint.style.left = `${Math.min(event.clientX + 14, window.innerWidth - hint.offsetWidth - 8)}px`;
    hint.style.top = `${event.clientY + 14}px`;
  });
  figure.addEventListener("pointerleave", () => { hint.hidden = true; });
}
