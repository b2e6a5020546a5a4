// Heat maps, bars and numbers.

export const select = (selector) => document.querySelector(selector);
// Returns a number with some decimals, a minus sign instead of a hyphen, and no -0.
export const format = (value, digits = 2) =>
  value
    .toFixed(digits)
    .replace(/^-(0(\.0*)?)$/, "$1")
    .replace("-", "−");
export const percent = (value) => `${format(100 * value, 0)}%`;
export const tile = (symbol) => `<b class="tile ${kindOf(symbol)}">${symbol}</b>`;
export const kindOf = (symbol) => (symbol === "?" ? "mark" : /\d/.test(symbol) ? "value" : "key");

// Replaces the content of an element if it has changed, so that nothing is laid out in vain.
const contents = new WeakMap();
export function setHtml(element, html) {
  if (contents.get(element) === html) return;
  contents.set(element, html);
  element.innerHTML = html;
}

// Names a picture for readers who do not see it.
export const describe = (element, text) => element.setAttribute("aria-label", text);

// A list of 256 colors between those of a CSS variable, such as "#fff, #00f", as 32-bit pixels.
const ramps = new Map();
export function forgetColors() {
  ramps.clear();
}
function ramp(name) {
  if (!ramps.has(name)) {
    const stops = getComputedStyle(document.documentElement).getPropertyValue(name).split(",");
    const colors = stops.map((stop) =>
      stop
        .trim()
        .match(/[0-9a-f]{2}/gi)
        .map((x) => parseInt(x, 16)),
    );
    const pixels = Uint32Array.from({ length: 256 }, (_, i) => {
      const place = (i / 255) * (colors.length - 1);
      const low = Math.min(Math.floor(place), colors.length - 2);
      const [red, green, blue] = colors[low].map(
        (x, k) => x + (place - low) * (colors[low + 1][k] - x),
      );
      return (255 << 24) | (blue << 16) | (green << 8) | red; // little-endian RGBA
    });
    ramps.set(name, pixels);
  }
  return ramps.get(name);
}

// Draws a matrix with one pixel per number. CSS enlarges it.
export function drawMatrix(canvas, values, columns, top, colors = "--ramp-A") {
  const rows = values.length / columns;
  if (canvas.width !== columns || canvas.height !== rows)
    Object.assign(canvas, { width: columns, height: rows });
  const pixels = ramp(colors);
  const context = canvas.getContext("2d");
  const image = context.createImageData(columns, rows);
  const target = new Uint32Array(image.data.buffer);
  const scale = 255 / (top || 1);
  for (let i = 0; i < values.length; i++) {
    target[i] = pixels[Math.max(0, Math.min(255, Math.round(values[i] * scale)))];
  }
  context.putImageData(image, 0, 0);
}

export const largest = (values) => values.reduce((top, x) => Math.max(top, x), 0);

// Returns columns over labels. An item has a value, a label and perhaps a `ghost`: an outline for an
// earlier value. `top` is the value that fills the height.
export function columns(items, { top, digits = 2, emphasis = -1, showValues = true }) {
  const height = (value) => `${format((100 * Math.max(value, 0)) / (top || 1), 2)}%`;
  return items
    .map(({ value, label, ghost, kind = "", isErased }, i) => {
      const outline =
        ghost === undefined ? "" : `<i class="ghost" style="height:${height(ghost)}"></i>`;
      const number = showValues
        ? `<span class="number" style="bottom:${height(Math.max(value, ghost ?? 0))}">${format(value, digits)}</span>`
        : "";
      const classes = [kind, i === emphasis ? "strong" : "", isErased ? "erased" : ""].join(" ");
      return (
        `<div class="column ${classes}">` +
        `<div class="plot">${outline}<i class="bar" style="height:${height(value)}">` +
        `</i>${number}</div>${label}</div>`
      );
    })
    .join("");
}

// Draws one bar for each number of a vector, side by side, in one path.
export function drawVector(svg, vector, top) {
  const bars = Array.from(vector, (x, i) => {
    const height = (100 * Math.max(x, 0)) / (top || 1);
    return `M${i + 0.1} 100h.8v${-format(height, 2)}h-.8z`;
  });
  svg.setAttribute("viewBox", `0 0 ${vector.length} 100`);
  svg.firstElementChild.setAttribute("d", bars.join(""));
}

// The same along the left side of a matrix: from top to bottom, with bars to the left.
export function drawVectorBeside(svg, vector, top) {
  const bars = Array.from(vector, (x, i) => {
    const width = (100 * Math.max(x, 0)) / (top || 1);
    return `M100 ${i + 0.1}v.8h${-format(width, 2)}v-.8z`;
  });
  svg.setAttribute("viewBox", `0 0 100 ${vector.length}`);
  svg.firstElementChild.setAttribute("d", bars.join(""));
}

// Shows which of several buttons is chosen.
export function press(buttons, isPressed) {
  for (const button of buttons) button.setAttribute("aria-pressed", isPressed(button));
}
