// Part 4: what the query reads, as attention and as a product with a matrix.

import {
  columns,
  describe,
  drawMatrix,
  drawVector,
  drawVectorBeside,
  format,
  kindOf,
  largest,
  percent,
  press,
  select,
  setHtml,
  tile,
} from "./draw.js";

const NUM_DIGITS = 4; // numbers of the result in the table

export function setUpReading({ update }) {
  select("#view").addEventListener("click", ({ target }) => {
    const button = target.closest("button");
    if (button) update({ view: button.value });
  });
}

export function showReading(model, { view }) {
  const { writes, weights, symbols, settings, text } = model;
  const items = writes.map(({ symbol, strength }, t) => ({
    value: weights[t],
    label: tile(symbols[symbol]),
    isErased: strength === 0,
  }));
  const top = largest(weights);
  const best = weights.indexOf(top);
  setHtml(
    select("#attention"),
    columns(items, { top: top * 1.12, emphasis: best, digits: symbols.length > 13 ? 1 : 2 }),
  );
  describe(
    select("#attention"),
    "Attention: " +
      `${writes.map(({ symbol }, t) => `${symbols[symbol]} ${format(weights[t])}`).join(", ")}`,
  );
  const total = weights.reduce((sum, x) => sum + x, 0);
  let note = `Height: η<span class="lambda">λ</span><sup>age</sup>(<span class="h">h</span> · `;
  note += `<span class="v">v</span>). `;
  if (top > 0)
    note +=
      `The query reads the vector of ${tile(symbols[best])} most strongly: ` +
      `${percent(top / total)} of the total. ${bindingNote(model, best)}`;
  else note += "Nothing that is left in A matches the query.";
  if (!settings.innerSteps) note = "With S = 0, no step reads A.";
  setHtml(select("#reading-takeaway"), note);
  const isPreliminary = settings.innerSteps === 1;
  const isWritten = isPreliminary && settings.recurrence === "original";
  const h = `<span class="h">h</span>`;
  let which = "";
  if (isWritten)
    which =
      `With S = 1, this ${h} is the <span class="v">v</span> of the query step, so the query ` +
      "also reads its own write: the last bar.";
  else if (isPreliminary) which = `With S = 1, this ${h} is the p of the query step.`;
  else if (settings.innerSteps) which = `This ${h} is that of the last read.`;
  setHtml(select("#which-h"), which);
  showSum(model, view);
  select("#reading").dataset.text = text;
}

// Why a digit answers to a letter that it is not.
function bindingNote({ symbols, text, settings }, best) {
  const isBound =
    best > 0 && kindOf(symbols[best]) === "value" && symbols[best - 1] === text[text.length - 1];
  if (!isBound) return "";
  const times = settings.innerSteps > 1 ? " (last read of the step)" : "";
  return (
    "Not the letter itself, but the digit after it: its vector was made when the " +
    `state still held ${tile(symbols[best - 1])}, so it matches the query${times}.`
  );
}

function showSum(
  { query, memory, weights, vectors, read, summed, network, symbols, writes },
  view,
) {
  const { units } = network;
  const isMatrix = view === "matrix";
  press(select("#view").children, (button) => button.value === view);
  const [factors, rows] = isMatrix
    ? [query, memory]
    : [Float64Array.from(weights), vectors.flatMap((one) => [...one])];
  drawVectorBeside(select("#sum-weights"), factors, largest(factors));
  drawMatrix(select("#sum-rows"), rows, units, largest(rows), isMatrix ? "--ramp-A" : "--ramp-v");
  drawVector(select("#sum-result"), isMatrix ? read : summed, largest(read));
  select("#sum-labels").style.setProperty("--count", vectors.length);
  const labels = isMatrix ? "" : writes.map(({ symbol }) => tile(symbols[symbol])).join("");
  setHtml(select("#sum-labels"), labels);
  setHtml(
    select("#sum-note"),
    isMatrix
      ? `${units} rows of <span class="A">A</span>, each times one number of ` +
          `<span class="h">h</span> (left).`
      : `${vectors.length} vectors <span class="v">v</span>, each times its ` +
          `<span class="h">attention</span> (left).`,
  );
  describe(
    select("#sum-weights"),
    isMatrix
      ? "The numbers of h, one for each row of A"
      : "The attention, one number for each vector",
  );
  describe(select("#sum-rows"), isMatrix ? "The rows of A" : "The vectors that were written");
  describe(select("#sum-result"), `The result: ${units} numbers, the same from both sides`);
  const places = [...read.keys()].sort((i, j) => read[j] - read[i]).slice(0, NUM_DIGITS);
  const line = (name, values, isShown) =>
    `<tr class="${isShown ? "shown" : ""}">` +
    `<th scope="row">${name}</th>${places.map((i) => `<td>${format(values[i], 8)}</td>`).join("")}</tr>`;
  const head = `<tr><th scope="row">unit</th>${places.map((i) => `<td>${i}</td>`).join("")}</tr>`;
  setHtml(
    select("#sum-digits tbody"),
    head + line("matrix", read, isMatrix) + line("attention", summed, !isMatrix),
  );
  const difference = largest(read.map((x, i) => Math.abs(x - summed[i])));
  const amount =
    difference === 0 ? "0" : `${difference.toExponential(0)}, the rounding of the computer`;
  setHtml(
    select("#sum-takeaway"),
    `The largest of the ${units} numbers. The largest difference of all ${units} is ` +
      `${amount}. So one matrix of a fixed size does ` +
      "what attention to all symbols does, and the network need not keep the symbols.",
  );
}
