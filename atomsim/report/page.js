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
const refit = () => charts.forEach((place) => Plotly.Plots.resize(place));
window.addEventListener("beforeprint", refit);
window.addEventListener("afterprint", refit);

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
