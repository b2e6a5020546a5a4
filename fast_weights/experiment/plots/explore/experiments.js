// Part 6: experiments with the memory. Every one can be undone.

import { contest, leadOfAll, reasonOf } from "./answer.js";
import { dot } from "./network.js";
import {
  describe,
  drawMatrix,
  format,
  kindOf,
  press,
  select,
  setHtml,
  tile,
} from "./draw.js";
import {
  pairsOf,
  repeatKey,
  swapValues,
  targetsOf,
  withPairs,
} from "./sequences.js";
import { compute, initialState, isChanged, limitOf, SLIDERS, toAddress } from "./state.js";

const PALE = 0.4; // for cosines of other vectors than those of values

export function setUpExperiments({ experiment, undo, reset, state, data }) {
  const sequence = (change) => () => {
    const text = change(state().text);
    if (text !== state().text) experiment({ text, erased: [] });
  };
  const withCount = (change) => () => {
    const count = Math.max(1, Math.min(26, change(pairsOf(state().text).length)));
    experiment({ text: withPairs(state().text, count), erased: [] }, "pairs");
  };
  select("#swap").addEventListener("click", sequence(swapValues));
  select("#repeat").addEventListener("click", sequence(repeatKey));
  select("#fewer").addEventListener(
    "click",
    withCount((count) => count - 1),
  );
  select("#more").addEventListener(
    "click",
    withCount((count) => count + 1),
  );
  select("#ten").addEventListener(
    "click",
    withCount(() => 10),
  );
  select("#erase").addEventListener("click", ({ target }) => {
    const button = target.closest("button");
    if (!button) return;
    const symbol = Number(button.value);
    experiment({ erased: state().erased.includes(symbol) ? [] : [symbol] });
  });
  for (const input of select("#sliders").querySelectorAll("input")) {
    const { step } = SLIDERS[input.name];
    const [network] = data.networks;
    const trained = network.settings[input.name];
    // With any step, the slider also stands at a trained value between two of its steps.
    const isBetween = Math.abs(trained / step - Math.round(trained / step)) > 1e-6;
    const max = limitOf(input.name, network);
    Object.assign(input, { min: 0, max, step: isBetween ? "any" : step });
    input.addEventListener("input", () => {
      const value = Math.round(Number(input.value) * 1000) / 1000;
      const settings = { ...state().settings, [input.name]: value };
      if (Math.abs(value - trained) < 0.0005) delete settings[input.name];
      experiment({ settings }, input.name);
    });
  }
  for (const id of ["#undo", "#undo-here"]) select(id).addEventListener("click", undo);
  select("#reset").addEventListener("click", reset);
  select("#copy").addEventListener("click", async ({ target }) => {
    const address = `${location.href.split("#")[0]}#${toAddress(state(), data.sample)}&part=experiments`;
    try {
      await navigator.clipboard.writeText(address);
      target.textContent = "Copied";
    } catch {
      location.hash = address.split("#")[1]; // a browser may forbid it for a file
      target.textContent = "See the address";
    }
    setTimeout(() => (target.textContent = "Copy link"), 2000);
  });
}

let before = null; // the run without any experiment
export function showOutcome(model, state) {
  const { network } = model;
  if (before?.network !== network || before.text !== state.base)
    before = compute(network, initialState(state.base));
  const outcome = ({ text, symbols, answer, probability }) =>
    `<span class="tiles">${symbols.map(tile).join("")}</span> → ${tile(answer)} ` +
    `${mark(text, answer)} <small>${format(probability)}</small>`;
  setHtml(select("#outcome-before"), outcome(before));
  setHtml(
    select("#outcome-now"),
    isChanged(state) ? outcome(model) : `<small>Nothing is changed yet.</small>`,
  );
  for (const id of ["#undo-here", "#reset"]) select(id).ariaDisabled = !isChanged(state);
}

export function showErase({ symbols, erased }) {
  const buttons = symbols.map(
    (symbol, t) =>
      `<button type="button" value="${t}" aria-label="Erase the write at ${symbol}, symbol ${t + 1}">${tile(symbol)}<span>` +
      "</span></button>",
  );
  setHtml(select("#erase"), buttons.join(""));
  press(select("#erase").children, (button) => erased.includes(Number(button.value)));
}

export function showChanges({ text }) {
  const [first, second] = pairsOf(text);
  select("#swap").ariaDisabled = !second;
  if (second) setHtml(select("#swap"), `Swap ${tile(first[1])} and ${tile(second[1])}`);
  const repeated = repeatKey(text);
  select("#repeat").ariaDisabled = !second || repeated === text;
  setHtml(select("#repeat"), `Write ${[...repeated].map(tile).join("")}`);
}

export function showSliders({ settings, network }) {
  const trained = network.settings;
  setHtml(
    select("#trained-settings"),
    `<span class="lambda">λ</span> = ${trained.decayRate}, η = ` +
      `${trained.fastLearningRate} and S = ${trained.innerSteps}`,
  );
  for (const input of select("#sliders").querySelectorAll("input")) {
    const value = settings[input.name];
    input.value = value;
    const note = value === trained[input.name] ? "as trained" : `trained: ${trained[input.name]}`;
    setHtml(input.nextElementSibling, `${value} <small>${note}</small>`);
  }
}

export const pairs = (count) => `${count} pair${count === 1 ? "" : "s"}`;
const mark = (text, answer) => (targetsOf(text).includes(answer) ? "✓" : "✗");

// The two digits between which the answer is decided, and what pushes to each: the longer bar wins.
export function showVersus(model) {
  const { text, answer, settings, network, writes, weights } = model;
  const decision = contest(model);
  const { right, rival, vectors, rest } = decision;
  const pieces = [...vectors, { name: "", digit: "", key: "", lead: rest }];
  // The pairs with one digit stand side by side.
  const pulls = {};
  for (const { digit, lead } of pieces) pulls[digit] = (pulls[digit] ?? 0) + lead;
  const pull = ({ digit }) => Math.abs(pulls[digit]);
  pieces.sort((a, b) => pull(b) - pull(a) || Math.abs(b.lead) - Math.abs(a.lead));
  const sides = [right, rival].map((digit, i) => {
    const found = pieces.filter(({ lead }) => (i ? lead < 0 : lead > 0));
    return { digit, found, sum: Math.abs(leadOfAll(found)) };
  });
  const top = Math.max(...sides.map(({ sum }) => sum)) || 1;
  const bars = sides.map(({ digit, found, sum }) => {
    const blocks = found.map(({ key, digit: own, lead }) => {
      const kind = own === right ? "right" : own === rival ? "rival" : "";
      const width = (100 * Math.abs(lead)) / top;
      return `<i class="${kind}" style="width:${format(width, 2)}%">${key}${own}</i>`;
    });
    return `<span>for ${tile(digit)}</span><div>${blocks.join("")}</div><b>${format(sum, 1)}</b>`;
  });
  setHtml(select("#versus"), bars.join(""));
  describe(
    select("#versus"),
    sides.map(({ digit, sum }) => `All that pushes to ${digit}: ${format(sum, 1)}`).join(", "),
  );
  const count = pairsOf(text).length;
  setHtml(select("#pair-count"), pairs(count));
  setHtml(select("#trained-pairs"), pairs(network.numPairs));
  select("#fewer").ariaDisabled = count === 1;
  select("#more").ariaDisabled = count === 26;
  const trainedWith =
    count === network.numPairs ? "" : `The network was trained with ${pairs(network.numPairs)}.`;
  const matches = writes
    .map((_, t) => ({ ...vectors[t], weight: weights[t] }))
    .filter(({ digit, isErased }) => digit && !isErased)
    .sort((a, b) => b.weight - a.weight)
    .slice(0, 3)
    .map(({ name, weight }) => `${name} ${format(weight)}`);
  const attentions =
    settings.innerSteps && matches.length
      ? `The query gives most attention to the values of ${matches.join(", ")}.`
      : "";
  const message = [attentions, reasonOf(model, decision), trainedWith].filter(Boolean).join(" ");
  setHtml(
    select("#versus-takeaway"),
    `The answer is ${tile(answer)} ${mark(text, answer)}. ${message}`,
  );
}

export function showCosines({ symbols, writes }) {
  const lengths = writes.map(({ vector }) => Math.sqrt(dot(vector, vector)) || 1);
  const isValue = writes.map(({ symbol }) => kindOf(symbols[symbol]) === "value");
  const found = [];
  const cosines = writes.flatMap((row, i) =>
    writes.map((other, j) => {
      const cosine = dot(row.vector, other.vector) / (lengths[i] * lengths[j]);
      const isPair = isValue[i] && isValue[j];
      if (i < j && isPair) found.push(cosine);
      return isPair ? cosine : cosine * PALE;
    }),
  );
  drawMatrix(select("#cosines canvas"), cosines, writes.length, 1, "--ramp-v");
  const labels = writes.map(({ symbol }) => tile(symbols[symbol])).join("");
  for (const place of select("#cosines").querySelectorAll(".labels")) {
    place.style.setProperty("--count", writes.length);
    setHtml(place, labels);
  }
  const mean = found.reduce((sum, x) => sum + x, 0) / found.length;
  describe(select("#cosines canvas"), `Cosines between the vectors of ${symbols.join(" ")}`);
  const count =
    found.length === 1 ? "There is 1 pair of values" : `There are ${found.length} pairs of values`;
  const text =
    `The vectors of the values have a mean cosine of ${format(mean)}. They are not ` +
    `orthogonal, so reading one also reads something of the others. ${count} to ` +
    "disturb each other.";
  setHtml(select("#cosine-takeaway"), mean > 0 ? text : "");
}
