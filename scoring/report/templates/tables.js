"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const state = new URLSearchParams(location.search);

// The reader's choices are in the address, so that a link shows the same.
function remember(name, value) {
  if (value) state.set(name, value);
  else state.delete(name);
  const query = state.toString();
  try {
    history.replaceState(null, "", (query ? `?${query}` : location.pathname) + location.hash);
  } catch { /* an embedded page cannot change the address */ }
}

// Sorting: the first click on a heading puts the best on top, the next reverses the order.
for (const button of document.querySelectorAll("table.sortable thead button")) {
  button.addEventListener("click", () => {
    const heading = button.closest("th");
    const table = button.closest("table");
    const place = heading.cellIndex;
    const sorted = heading.getAttribute("aria-sort");
    const turned = { ascending: "descending", descending: "ascending" };
    const order = sorted ? turned[sorted] : button.dataset.first;
    for (const other of table.querySelectorAll("th[aria-sort]")) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", order);
    const key = (row) => row.cells[place].dataset.value;
    const compare = (a, b) => {
      const [x, y] = [Number(key(a)), Number(key(b))];
      const up = Number.isNaN(x) || Number.isNaN(y) ? key(a).localeCompare(key(b)) : x === y ? 0 : x - y;
      return order === "ascending" ? up : -up;
    };
    table.tBodies[0].append(...[...table.tBodies[0].rows].sort(compare));
  });
}

// Filtering: every table shows only rows of submissions whose name contains the text.
const filter = document.getElementById("filter");
function applyFilter() {
  const text = filter.value.trim().toLowerCase();
  for (const row of document.querySelectorAll("tr[data-submission]")) {
    row.hidden = !row.dataset.submission.toLowerCase().includes(text);
  }
}
filter.value = state.get("filter") ?? "";
applyFilter();
filter.addEventListener("input", () => {
  applyFilter();
  remember("filter", filter.value.trim());
});

// Enlarging a figure, by its button or a click on it.
for (const button of document.querySelectorAll(".enlarge")) {
  const figure = button.closest("figure");
  const toggle = () => {
    const large = figure.classList.toggle("large");
    button.setAttribute("aria-pressed", String(large));
    button.textContent = large ? "reduce" : "enlarge";
    if (large) figure.scrollIntoView({ block: "nearest" });
  };
  button.addEventListener("click", toggle);
  if (!figure.querySelector("#profiles-plot")) figure.querySelector(".plot").addEventListener("click", toggle);
}

// Tables that are wider than the page show a hint.
function markWide() {
  for (const box of document.querySelectorAll(".scroll")) {
    const left = box.scrollWidth - box.clientWidth - box.scrollLeft;
    box.parentElement.classList.toggle("more", left > 1);
    box.parentElement.classList.toggle("less", box.scrollLeft > 1);
  }
}
for (const box of document.querySelectorAll(".scroll")) box.addEventListener("scroll", markWide);
addEventListener("resize", markWide);
markWide();

// Files embedded in the page.
for (const link of document.querySelectorAll("a[download]")) {
  const kind = link.download.endsWith(".json") ? "application/json" : "text/csv";
  link.href = URL.createObjectURL(new Blob([data.files[link.download]], { type: kind }));
  link.hidden = false;
}

// A page that follows a sweep shows what runs, and reloads when a trial has ended.
const underWay = document.getElementById("under-way");
async function follow() {
  try {
    const status = await (await fetch(underWay.dataset.status, { cache: "no-store" })).json();
    if (String(status.version) !== underWay.dataset.version) return location.reload();
    const lines = [...status.lines, ...status.running.map((one) => `${one.trial}: ${one.latest}`)];
    underWay.querySelector("ul").replaceChildren(...lines.map((line) => {
      const item = document.createElement("li");
      item.textContent = line;
      return item;
    }));
  } catch { /* the server is gone or busy: leave the page unchanged */ }
  setTimeout(follow, 3000);
}
if (underWay) follow();
