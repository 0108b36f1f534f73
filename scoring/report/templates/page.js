"use strict";

// Sorting: a click on a heading sorts its table by the cells' data-value, then the other way round.
for (const button of document.querySelectorAll("table.sortable thead button")) {
  button.addEventListener("click", () => {
    const heading = button.closest("th");
    const table = button.closest("table");
    const place = heading.cellIndex;
    const up = heading.getAttribute("aria-sort") !== "ascending";
    for (const other of table.querySelectorAll("th[aria-sort]")) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", up ? "ascending" : "descending");
    const key = (row) => row.cells[place].dataset.value;
    const compare = (a, b) => {
      const [x, y] = [Number(key(a)), Number(key(b))];
      const order = Number.isNaN(x) || Number.isNaN(y) ? key(a).localeCompare(key(b)) : x === y ? 0 : x - y;
      return up ? order : -order;
    };
    table.tBodies[0].append(...[...table.tBodies[0].rows].sort(compare));
  });
}

// Filtering: only rows of submissions whose name holds the text stay, in every table.
const filter = document.getElementById("filter");
filter.addEventListener("input", () => {
  const text = filter.value.trim().toLowerCase();
  for (const row of document.querySelectorAll("tr[data-submission]")) {
    row.hidden = !row.dataset.submission.toLowerCase().includes(text);
  }
});

// Switching submissions off and on, in every figure.
for (const box of document.querySelectorAll("input[data-group]")) {
  box.addEventListener("change", () => {
    for (const lines of document.getElementsByClassName(box.dataset.group)) {
      lines.classList.toggle("off", !box.checked);
    }
    showShares();
  });
}
document.getElementById("all").addEventListener("click", () => switchAll(true));
document.getElementById("none").addEventListener("click", () => switchAll(false));

function switchAll(on) {
  for (const box of document.querySelectorAll("input[data-group]")) {
    if (box.checked !== on) box.click();
  }
}

// Reading values off the performance profiles: by pointer, or by the slider.
const geometry = JSON.parse(document.getElementById("geometry").textContent);
const plot = document.getElementById("profiles-plot");
const slider = document.getElementById("tau");
const ruler = plot.querySelector(".ruler");

plot.addEventListener("pointermove", (event) => {
  const box = plot.querySelector("svg").getBoundingClientRect();
  const width = plot.querySelector("svg").viewBox.baseVal.width;
  const x = ((event.clientX - box.left) / box.width) * width;
  const share = (x - geometry.left) / (geometry.right - geometry.left);
  slider.value = 1 + Math.min(1, Math.max(0, share)) * (geometry.r_max - 1);
  showShares();
});
slider.addEventListener("input", showShares);

function showShares() {
  const tau = Number(slider.value);
  document.getElementById("tau-value").textContent = tau.toFixed(2);
  for (const [group, [taus, shares]] of Object.entries(geometry.lines)) {
    const output = document.querySelector(`output[data-group="${group}"]`);
    const off = !document.querySelector(`input[data-group="${group}"]`).checked;
    const corner = taus.findLastIndex((value) => value <= tau + 1e-9);
    output.textContent = off ? "" : `${(100 * shares[corner]).toFixed(1)}%`;
  }
  const width = plot.querySelector("svg").viewBox.baseVal.width;
  const share = (tau - 1) / (geometry.r_max - 1);
  ruler.style.left = `${(100 * (geometry.left + share * (geometry.right - geometry.left))) / width}%`;
  ruler.hidden = false;
}
showShares();
