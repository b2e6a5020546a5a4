// Part 6: experiments with the memory. Undo works for each of them.

import { attention, dot, run } from "./network.js";
import {
  columns,
  describe,
  drawMatrix,
  format,
  kindOf,
  percent,
  press,
  select,
  setHtml,
  tile,
} from "./draw.js";
import {
  encode,
  pairsOf,
  queryOf,
  randomNumbers,
  randomSequence,
  repeatKey,
  swapValues,
  targetsOf,
  VOCABULARY,
  withPairs,
} from "./sequences.js";
import { compute, initialState, isChanged, SLIDERS, toAddress } from "./state.js";

const MAX_PAIRS = 14; // of the curves
const NUM_SEQUENCES = 100; // for each number of pairs
const PALE = 0.4; // for cosines of other vectors than those of values
const MILLISECONDS = 6; // of computing between two chances for the reader's next input

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
    const { max, step } = SLIDERS[input.name];
    const trained = data.networks[0].settings[input.name];
    Object.assign(input, { min: 0, max: Math.max(max, trained), step });
    input.addEventListener("input", () => {
      const settings = { ...state().settings, [input.name]: Number(input.value) };
      if (settings[input.name] === trained) delete settings[input.name];
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
      location.hash = address.split("#")[1]; // browsers may block the clipboard for a file
      target.textContent = "See the address";
    }
    setTimeout(() => (target.textContent = "Copy link"), 2000);
  });
}

export function showExperiments(model, state) {
  const { text, symbols, erased, settings, network } = model;
  const before = compute(network, initialState(state.base));
  const outcome = ({ text, symbols, answer, probability }) =>
    `<span class="tiles">${symbols.map(tile).join("")}</span> → ${tile(answer)} ` +
    `${mark(text, answer)} <small>${format(probability)}</small>`;
  setHtml(select("#outcome-before"), outcome(before));
  setHtml(
    select("#outcome-now"),
    isChanged(state) ? outcome(model) : `<small>Nothing is changed yet.</small>`,
  );
  for (const id of ["#undo-here", "#reset"]) select(id).ariaDisabled = !isChanged(state);

  const buttons = symbols.map(
    (symbol, t) =>
      `<button type="button" value="${t}" aria-label="Erase the write at ${symbol}, symbol ${t + 1}">${tile(symbol)}<span>` +
      "</span></button>",
  );
  setHtml(select("#erase"), buttons.join(""));
  press(select("#erase").children, (button) => erased.includes(Number(button.value)));

  const [first, second] = pairsOf(text);
  select("#swap").ariaDisabled = !second;
  if (second) setHtml(select("#swap"), `Swap ${tile(first[1])} and ${tile(second[1])}`);
  const repeated = repeatKey(text);
  select("#repeat").ariaDisabled = !second || repeated === text;
  setHtml(select("#repeat"), `Write ${[...repeated].map(tile).join("")}`);

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
  const count = pairsOf(text).length;
  setHtml(select("#pair-count"), pairs(count));
  setHtml(select("#trained-pairs"), pairs(network.numPairs));
  select("#fewer").ariaDisabled = count === 1;
  select("#more").ariaDisabled = count === 26;
  showVersus(model);
  showCosines(model);
}

const pairs = (count) => `${count} pair${count === 1 ? "" : "s"}`;
const mark = (text, answer) => (targetsOf(text).includes(answer) ? "✓" : "✗");

// The attention to the asked value beside that to all other values.
function showVersus({ symbols, writes, weights, text, answer, settings, network }) {
  const query = queryOf(text);
  const parts = { asked: 0, others: 0 };
  const pieces = [];
  writes.forEach(({ symbol }, t) => {
    if (kindOf(symbols[symbol]) !== "value") return;
    const isAsked = symbols[symbol - 1] === query;
    parts[isAsked ? "asked" : "others"] += weights[t];
    pieces.push({ symbol: symbols[symbol], isAsked, weight: weights[t] });
  });
  const top = Math.max(parts.asked, parts.others) || 1;
  const bar = (isAsked, name) => {
    const found = pieces.filter((piece) => piece.isAsked === isAsked);
    const blocks = found.map(
      ({ symbol, weight }) => `<i style="width:${format((100 * weight) / top, 2)}%">${symbol}</i>`,
    );
    return (
      `<span>${name}</span>` +
      `<div class="${isAsked ? "asked" : "others"}">${blocks.join("")}</div>` +
      `<b>${format(parts[isAsked ? "asked" : "others"])}</b>`
    );
  };
  setHtml(select("#versus"), bar(true, "asked value") + bar(false, "other values"));
  describe(
    select("#versus"),
    `Attention to the asked value ${format(parts.asked)}, to all other values ` +
      `together ${format(parts.others)}`,
  );
  const isRight = targetsOf(text).includes(answer);
  const count = pairsOf(text).length;
  const sides =
    `The query gives ${format(parts.asked)} to the asked value and ` +
    `${format(parts.others)} to the other ${count - 1} together.`;
  let meaning = "The right value stands out.";
  if (parts.asked === 0) meaning = "The query reads nothing from the asked value.";
  else if (parts.others > parts.asked && isRight)
    meaning = "That is more, but they push to different digits, so the answer is still right.";
  else if (parts.others > parts.asked)
    meaning =
      "Each of them matches the query only a little. But the memory adds them all up, and together they outweigh the right one. Part 5 now shows what they do to each score.";
  const trainedWith =
    count === network.numPairs
      ? ""
      : ` The network was trained with ${pairs(network.numPairs)} only.`;
  const message =
    settings.innerSteps && count > 1 ? `${sides} ${meaning}${trainedWith}` : trainedWith;
  setHtml(select("#versus-takeaway"), `${tile(answer)} ${mark(text, answer)} ${message}`);
}

function showCosines({ symbols, writes }) {
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
  const mean = format(found.reduce((sum, x) => sum + x, 0) / found.length);
  describe(select("#cosines canvas"), `Cosines between the vectors of ${symbols.join(" ")}`);
  const count =
    found.length === 1 ? "There is 1 pair of values" : `There are ${found.length} pairs of values`;
  const text =
    `The vectors of the values have a mean cosine of ${mean}. They are not ` +
    `orthogonal, so reading one always reads a little of the others. ${count} that can ` +
    "interfere with each other.";
  setHtml(select("#cosine-takeaway"), found.length ? text : "");
}

// Computes in small parts between inputs, because all at once would block the page.
function computeInParts(parts, isWanted) {
  const work = () => {
    const start = performance.now();
    while (parts.length && isWanted() && performance.now() - start < MILLISECONDS) parts.shift()();
    if (parts.length && isWanted()) setTimeout(work);
  };
  setTimeout(work);
}

let newest = null; // the model whose erased writes are computed
let known = { settings: "", results: [] }; // the curves of the last settings
export function computeLater(model) {
  newest = model;
  computeInParts(eraseEach(model), () => newest === model);
  const settings = JSON.stringify(model.settings);
  if (settings === known.settings) return;
  const found = { settings, results: [] };
  known = found;
  computeInParts(curves(model, found), () => known === found);
}

// Writes under each symbol the answer without its write.
function eraseEach(model) {
  const { symbols, network, text, settings, result } = model;
  const answers = [];
  return symbols.map((_, t) => () => {
    const changed = compute(network, { text, erased: [t], settings });
    const whole = t ? answers[0].whole : compute(network, { text, erased: [], settings });
    answers.push({ t, whole, answer: changed.answer });
    const place = select("#erase").children[t]?.lastElementChild;
    if (!place) return;
    place.textContent = changed.answer;
    place.className = changed.answer === whole.answer ? "same" : "other";
    if (t < symbols.length - 1) return;
    const found = answers.filter(({ answer }) => answer !== whole.answer);
    const names = found.map(
      ({ t, answer }) =>
        `${kindOf(text[t]) === "value" ? tile(text[t - 1]) : ""}${tile(text[t])} (it ` +
        `becomes ${tile(answer)})`,
    );
    setHtml(
      select("#erase-takeaway"),
      found.length
        ? `The answer ${tile(whole.answer)} depends on the write of ` +
            `${names.join(" and of ")}. Erasing any other write does not change it.`
        : `The answer ${tile(whole.answer)} does not depend on any single write.`,
    );
  });
}

// Mean results for each number of pairs, over the same sequences for all settings.
function curves({ network, settings }, { results }) {
  const random = randomNumbers(1);
  const parts = [];
  for (let count = 1; count <= MAX_PAIRS; count++) {
    const sums = { correct: 0, asked: 0, others: 0 };
    for (let i = 0; i < NUM_SEQUENCES; i++) {
      parts.push(() => addSequence(sums, network, settings, randomSequence(count, random)));
    }
    parts.push(() => {
      results.push(sums);
      showCurves(results);
    });
  }
  return parts;
}

function addSequence(sums, network, settings, text) {
  const result = run(network, settings, encode(text));
  const now = text.length - 1;
  const { probabilities, steps, writes } = result;
  const answer = VOCABULARY[probabilities.indexOf(Math.max(...probabilities))];
  sums.correct += targetsOf(text).includes(answer) / NUM_SEQUENCES;
  const queries = steps[now].queries;
  if (!queries.length) return;
  attention(queries[queries.length - 1], writes, now, settings).forEach((weight, t) => {
    const { symbol } = writes[t];
    if (kindOf(text[symbol]) !== "value") return;
    sums[text[symbol - 1] === queryOf(text) ? "asked" : "others"] += weight / NUM_SEQUENCES;
  });
}

function showCurves(found) {
  const none = { correct: 0, asked: 0, others: 0 };
  const results = Array.from({ length: MAX_PAIRS }, (_, i) => found[i] ?? none);
  const top = Math.max(...found.map(({ asked, others }) => Math.max(asked, others)));
  const label = (i) => `<small>${i + 1}</small>`;
  const accuracy = results.map(({ correct }, i) => ({ value: correct, label: label(i) }));
  const both = results.flatMap(({ asked, others }, i) => [
    { value: asked, label: label(i), kind: "asked" },
    { value: others, label: "", kind: "others" },
  ]);
  const list = (valueOf) => found.map((one, i) => `${i + 1} pairs: ${valueOf(one)}`).join(", ");
  const attentions = ({ asked, others }) => `${format(asked)} and ${format(others)}`;
  setHtml(select("#curve-accuracy"), columns(accuracy, { top: 1, showValues: false }));
  setHtml(select("#curve-attention"), columns(both, { top, showValues: false }));
  const names = ["Correct answers.", "Attention to the asked value and to the others."];
  describe(select("#curve-accuracy"), `${names[0]} ${list(({ correct }) => percent(correct))}`);
  describe(select("#curve-attention"), `${names[1]} ${list(attentions)}`);
  setHtml(select("#curve-count"), `${NUM_SEQUENCES}`);
  if (found.length < 10) return setHtml(select("#curve-takeaway"), "");
  const summary = ({ asked, others, correct }) =>
    `the asked value gets ${format(asked)} and the others ${format(others)} together: ` +
    `${percent(correct)} correct`;
  const text = `With three pairs, ${summary(found[2])}. With ten pairs, ${summary(found[9])}.`;
  setHtml(select("#curve-takeaway"), text);
  select("#curve-why").hidden = found[9].correct > 0.95;
}
