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

// Switching submissions on and off in every figure.
const boxes = [...document.querySelectorAll("input[data-group]")];
const off = new Set((state.get("off") ?? "").split(","));
function applySwitch(box) {
  for (const lines of document.getElementsByClassName(box.dataset.group)) {
    lines.classList.toggle("off", !box.checked);
  }
}
for (const box of boxes) {
  box.checked = !off.has(data.slugs[box.dataset.group]);
  applySwitch(box);
  box.addEventListener("change", () => {
    applySwitch(box);
    showShares();
    remember("off", boxes.filter((other) => !other.checked).map((other) => data.slugs[other.dataset.group]).join(","));
  });
}
document.getElementById("all").addEventListener("click", () => switchAll(true));
document.getElementById("none").addEventListener("click", () => switchAll(false));

function switchAll(on) {
  for (const box of boxes) {
    if (box.checked !== on) box.click();
  }
}

// Curves of all trials, or of those that count.
const others = document.getElementById("others");
function applyOthers() {
  document.body.classList.toggle("all-trials", others.checked);
}
others.checked = state.get("trials") === "all";
applyOthers();
others.addEventListener("change", () => {
  applyOthers();
  remember("trials", others.checked ? "all" : "");
});

// Highlighting the submission under the pointer in every figure.
function focusOn(group) {
  for (const plot of document.querySelectorAll(".plot")) {
    plot.classList.toggle("focus", Boolean(group));
    for (const lines of plot.querySelectorAll(".focus")) lines.classList.remove("focus");
    if (group) for (const lines of plot.getElementsByClassName(group)) lines.classList.add("focus");
  }
}
for (const item of document.querySelectorAll(".legend li[data-group]")) {
  item.addEventListener("pointerenter", () => focusOn(item.dataset.group));
  item.addEventListener("pointerleave", () => focusOn(""));
}
for (const plot of document.querySelectorAll(".plot")) {
  plot.addEventListener("pointerover", (event) => {
    focusOn(event.target.closest("[class^=submission]")?.classList[0] ?? "");
  });
  plot.addEventListener("pointerleave", () => focusOn(""));
}

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

// Reading values off the performance profiles: by pointer, or by the slider.
const { geometry } = data;
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
plot.addEventListener("pointerleave", () => remember("tau", slider.value));
slider.addEventListener("input", () => {
  showShares();
  remember("tau", slider.value);
});

function showShares() {
  const tau = Number(slider.value);
  document.getElementById("tau-value").textContent = tau.toFixed(2);
  for (const [group, [taus, shares]] of Object.entries(geometry.lines)) {
    const output = document.querySelector(`output[data-group="${group}"]`);
    const hidden = !document.querySelector(`input[data-group="${group}"]`).checked;
    const corner = taus.findLastIndex((value) => value <= tau + 1e-9);
    output.textContent = hidden ? "" : `${(100 * shares[corner]).toFixed(1)}%`;
  }
  const width = plot.querySelector("svg").viewBox.baseVal.width;
  const share = (tau - 1) / (geometry.r_max - 1);
  ruler.style.left = `${(100 * (geometry.left + share * (geometry.right - geometry.left))) / width}%`;
  ruler.hidden = false;
}
if (state.get("tau")) slider.value = state.get("tau");
showShares();

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

// The list of submissions is folded if it would cover the figures.
if (matchMedia("(max-width: 64rem)").matches) document.querySelector("details.legend").open = false;

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
