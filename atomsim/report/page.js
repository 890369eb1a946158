"use strict";
// Draws the charts from the data beside them, and sorts tables by the heading that is clicked.
const config = { responsive: true, displayModeBar: false }; // drag to zoom, double-click to reset
const charts = [];
for (const data of document.querySelectorAll("script.chart-data")) {
  const figure = JSON.parse(data.textContent);
  const place = document.getElementById(data.dataset.for);
  Plotly.newPlot(place, figure.data, figure.layout, config);
  charts.push(place);
}

// Paper is as wide as it is, whatever the window: A4 between its margins less a card's padding, in CSS pixels, and as
// high that two charts and their captions fill a page. What is folded on the screen is unfolded on paper.
const PAPER = { width: 640, height: 370, font: 10.5 };
const folded = [...document.querySelectorAll("details")].filter((part) => !part.open);
const toPaper = () => {
  folded.forEach((part) => (part.open = true));
  for (const place of charts) {
    const height = Math.min(place.layout.height, PAPER.height);
    place.dataset.height = place.layout.height;
    place.dataset.font = place.layout.font.size;
    place.style.height = `${height}px`;
    Plotly.relayout(place, { autosize: false, width: PAPER.width, height, "font.size": PAPER.font });
  }
};
const toScreen = () => {
  folded.forEach((part) => (part.open = false));
  for (const place of charts) {
    const height = Number(place.dataset.height);
    place.style.height = `${height}px`;
    Plotly.relayout(place, { autosize: true, width: null, height, "font.size": Number(place.dataset.font) });
    Plotly.Plots.resize(place);
  }
};
window.addEventListener("beforeprint", toPaper);
window.addEventListener("afterprint", toScreen);

const valueOf = (row, column) => {
  const cell = row.cells[column];
  return cell.dataset.value === undefined ? cell.textContent : Number(cell.dataset.value);
};
const compare = (a, b) =>
  typeof a === typeof b ? (typeof a === "number" ? a - b : a.localeCompare(b)) : typeof a === "number" ? -1 : 1;
for (const heading of document.querySelectorAll("thead th")) {
  heading.addEventListener("click", () => {
    const body = heading.closest("table").tBodies[0];
    const up = heading.getAttribute("aria-sort") !== "ascending";
    for (const other of heading.parentNode.cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", up ? "ascending" : "descending");
    const rows = [...body.rows].sort((a, b) => compare(valueOf(a, heading.cellIndex), valueOf(b, heading.cellIndex)));
    body.append(...(up ? rows : rows.reverse()));
  });
}
