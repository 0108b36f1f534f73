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

// The list of submissions is folded if it would cover the figures.
if (matchMedia("(max-width: 64rem)").matches) document.querySelector("details.legend").open = false;
