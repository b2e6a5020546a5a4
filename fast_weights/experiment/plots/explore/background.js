// Part 6, in the background: the answers without each write, and the curves.

import { contest, isFor, leadOfAll } from "./answer.js";
import { columns, describe, format, kindOf, percent, select, setHtml, tile } from "./draw.js";
import { pairs } from "./experiments.js";
import { pairsOf, queryOf, randomNumbers, randomSequence, targetsOf } from "./sequences.js";
import { compute } from "./state.js";

const MAX_PAIRS = 14; // of the curves
const NUM_SEQUENCES = 100; // for each number of pairs
const MILLISECONDS = 6; // of computing between two chances for the reader's next input

// What takes longer than a moment is computed in small parts while the reader does nothing.
let waiting = []; // the work that is not done
function computeInParts(parts, isWanted) {
  const work = (milliseconds) => {
    const start = performance.now();
    while (parts.length && isWanted() && performance.now() - start < milliseconds) parts.shift()();
    if (!parts.length || !isWanted()) waiting = waiting.filter((one) => one !== work);
    else if (milliseconds < Infinity) setTimeout(work, 0, milliseconds);
  };
  waiting.push(work);
  setTimeout(work, 0, MILLISECONDS);
}

// Does the rest at once: paper does not wait.
export function computeNow() {
  for (const work of waiting) work(Infinity);
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
    const subject = model.erased.length
      ? `Without erasing, the answer is ${tile(whole.answer)}. It`
      : `The answer ${tile(whole.answer)}`;
    setHtml(
      select("#erase-takeaway"),
      found.length
        ? `${subject} depends on the write of ${names.join(" and of ")}. Without any other one, ` +
            "it stays."
        : `${subject} does not depend on any single write.`,
    );
  });
}

// Mean results for each number of pairs, over the same sequences for all settings.
function curves({ network, settings }, { results }) {
  const random = randomNumbers(1);
  const parts = [];
  for (let count = 1; count <= MAX_PAIRS; count++) {
    const found = [];
    for (let i = 0; i < NUM_SEQUENCES; i++) {
      parts.push(() => found.push(resultOf(network, settings, randomSequence(count, random))));
    }
    parts.push(() => {
      results.push(found);
      showCurves(results, network, settings);
    });
  }
  return parts;
}

// Returns what decides one sequence: the attention to values, and the leads of their vectors.
function resultOf(network, settings, text) {
  const model = compute(network, { text, erased: [], settings });
  const { right, rival, vectors } = contest(model);
  const values = vectors.map((one, t) => ({ ...one, weight: model.weights[t] }));
  const asked = values.filter(({ isAsked }) => isAsked);
  const others = values.filter(({ digit, isAsked }) => digit && !isAsked);
  const rivals = values.filter(isFor(rival));
  const attention = (found) => found.reduce((sum, { weight }) => sum + weight, 0);
  const place = pairsOf(text).findIndex(([key]) => key === queryOf(text));
  return {
    isCorrect: model.answer === right,
    asked: attention(asked),
    others: attention(others),
    own: leadOfAll(asked),
    rival: -leadOfAll(rivals),
    isRepeated: rivals.length > 1,
    isOld: place < pairsOf(text).length / 2,
  };
}

const mean = (found, valueOf) => found.reduce((sum, one) => sum + valueOf(one), 0) / found.length;
const accuracy = (found) => mean(found, ({ isCorrect }) => Number(isCorrect));

function showCurves(found, network, settings) {
  const results = found.map((all) => ({
    correct: accuracy(all),
    asked: mean(all, ({ asked }) => asked),
    others: mean(all, ({ others }) => others),
  }));
  const top = Math.max(...results.map(({ asked, others }) => Math.max(asked, others)));
  const label = (i) => `<small>${i + 1}</small>`;
  const none = { correct: 0, asked: 0, others: 0 };
  const places = Array.from({ length: MAX_PAIRS }, (_, i) => results[i] ?? none);
  const heights = places.map(({ correct }, i) => ({ value: correct, label: label(i) }));
  const both = places.flatMap(({ asked, others }, i) => [
    { value: asked, label: label(i), kind: "asked" },
    { value: others, label: "", kind: "others" },
  ]);
  const list = (valueOf) => results.map((one, i) => `${pairs(i + 1)}: ${valueOf(one)}`).join(", ");
  const attentions = ({ asked, others }) => `${format(asked)} and ${format(others)}`;
  setHtml(select("#curve-accuracy"), columns(heights, { top: 1, showValues: false }));
  setHtml(select("#curve-attention"), columns(both, { top, showValues: false }));
  const names = ["Correct answers.", "Attention to the asked value and to the others."];
  describe(select("#curve-accuracy"), `${names[0]} ${list(({ correct }) => percent(correct))}`);
  describe(select("#curve-attention"), `${names[1]} ${list(attentions)}`);
  setHtml(select("#curve-count"), `${NUM_SEQUENCES}`);
  const isReady = found.length >= 10;
  const summary = ({ asked, others, correct }) =>
    `the asked value gets ${format(asked)} and the others ${format(others)} together: ` +
    `${percent(correct)} correct`;
  const text = () =>
    `With three pairs, ${summary(results[2])}. With ten pairs, ${summary(results[9])}.`;
  setHtml(select("#curve-takeaway"), isReady ? text() : "");
  setHtml(select("#curve-why"), isReady && settings.innerSteps ? failures(found[2], found[9]) : "");
  // Whether the network recalls what it was trained with, and fails with more.
  const trained = results[network.numPairs - 1]?.correct;
  select("#curve-training").hidden = !(isReady && trained > 0.95 && results[9].correct < 0.95);
}

// Says in numbers why ten pairs fail more often than three.
function failures(three, ten) {
  const wrong = ten.filter(({ isCorrect }) => !isCorrect);
  if (!wrong.length) return "";
  const right = ten.filter(({ isCorrect }) => isCorrect);
  const sides = (all) => ["own", "rival"].map((name) => format(mean(all, (one) => one[name]), 1));
  const [own, rival] = sides(three);
  const repeated = wrong.filter(({ isRepeated }) => isRepeated).length;
  const [old, young] = [true, false].map((isOld) =>
    percent(accuracy(ten.filter((one) => one.isOld === isOld))),
  );
  return (
    "With more pairs, more vectors match the query by chance, and more of them have the same " +
    "digit. With three pairs, the asked vector lifts the right digit over its best rival by " +
    `${own}, and the pairs with that rival take ${rival} of it back. ` +
    (right.length ? `Where ten pairs work, it is ${sides(right).join(" against ")}. ` : "") +
    `Where they fail, it is ${sides(wrong).join(" against ")}: in ${repeated} of the ${wrong.length} ` +
    "failures, several pairs have the wrong digit, and reading adds up what they push. The older " +
    `half of the ten pairs is recalled in ${old} of the cases, the newer half in ${young}.`
  );
}
