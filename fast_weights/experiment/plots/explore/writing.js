// Part 2: step by step, A fades and gets one more vector.

import { dot } from "./network.js";
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

const MILLISECONDS_PER_STEP = 900;
let timer = 0;

export function setUpWriting({ update, state }) {
  const go = (step) => update({ step: Math.max(0, Math.min(state().text.length - 1, step)) });
  const stop = () => {
    clearInterval(timer);
    timer = 0;
    showPlaying();
  };
  const goAndStop = (step) => {
    stop();
    go(step);
  };
  select("#previous").addEventListener("click", () => goAndStop(state().step - 1));
  select("#next").addEventListener("click", () => goAndStop(state().step + 1));
  select("#step").addEventListener("input", ({ target }) => goAndStop(Number(target.value)));
  select("#left").addEventListener("click", ({ target }) => {
    const column = target.closest(".column");
    if (column) goAndStop([...select("#left").children].indexOf(column));
  });
  select("#play").addEventListener("click", () => {
    if (timer) return stop();
    const length = () => state().text.length;
    if (state().step === length() - 1) go(0);
    timer = setInterval(() => {
      go(state().step + 1);
      if (state().step === length() - 1) stop();
    }, MILLISECONDS_PER_STEP);
    showPlaying();
  });
  // Arrow keys anywhere in this part, except where they have another meaning.
  document.addEventListener("keydown", (event) => {
    const change = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const isTaken =
      event.target.closest("input, dialog") || event.altKey || event.ctrlKey || event.metaKey;
    if (!change || isTaken || !isInView(select("#writing figure"))) return;
    event.preventDefault();
    goAndStop(state().step + change);
  });
}

function showPlaying() {
  select("#play").textContent = timer ? "Pause" : "Play";
  press([select("#play")], () => timer !== 0);
}

function isInView(element) {
  const { top, bottom } = element.getBoundingClientRect();
  return top < window.innerHeight && bottom > 0;
}

export function showWriting({ steps, settings, symbols, network, erased, delay }, { step }) {
  const { units } = network;
  const { decayRate, fastLearningRate } = settings;
  const { memory, written } = steps[step];
  const before = step ? steps[step - 1].memory : new Float64Array(units * units);
  const source = step - delay;
  const strength = source < 0 || erased.includes(source) ? 0 : fastLearningRate;
  const kept = before.map((x) => decayRate * x);
  const grid = memory.map((x, i) => x - kept[i]);
  const top = largest(steps.map((one) => largest(one.memory)));
  drawMatrix(select("#kept"), kept, units, top);
  drawMatrix(select("#grid"), grid, units, top, "--ramp-v");
  drawMatrix(select("#memory"), memory, units, top);
  const longest = largest(steps.map((one) => largest(one.written)));
  drawVector(select("#v-above"), written, longest);
  drawVectorBeside(select("#v-beside"), written, longest);
  const name = source < 0 ? "nothing" : symbols[source];
  const verb = source >= 0 && erased.includes(source) ? "erased: " : "";
  setHtml(
    select("#kept-note"),
    step ? `${percent(decayRate)} of what was there` : "empty at the start",
  );
  setHtml(select("#grid-note"), `${verb}the write of ${source < 0 ? "nothing" : tile(name)}`);
  setHtml(select("#memory-note"), `after ${tile(symbols[step])}`);
  describe(select("#kept"), `A before ${symbols[step]}, after decay`);
  describe(select("#grid"), `The write of ${name}, ${verb}a grid of rank one`);
  describe(select("#memory"), `A after ${symbols.slice(0, step + 1).join(" ")}`);
  Object.assign(select("#step"), { max: steps.length - 1, value: step });
  select("#step").setAttribute(
    "aria-valuetext",
    `${step + 1} of ${steps.length}: ${symbols[step]}`,
  );
  setHtml(select("#step-label"), `step ${step + 1} of ${steps.length}: ${tile(symbols[step])}`);

  const full = symbols.map((_, t) => {
    const at = steps[t + delay];
    return at && !erased.includes(t) ? fastLearningRate * dot(at.written, at.written) : 0;
  });
  const items = symbols.map((symbol, t) => {
    const age = step - t - delay;
    const value = age < 0 ? 0 : full[t] * decayRate ** age;
    const kind = age < 0 ? "future" : "";
    return {
      value,
      ghost: age < 0 ? 0 : full[t],
      label: tile(symbol),
      kind,
      isErased: erased.includes(t),
    };
  });
  const places = {
    top: largest(full) * 1.15,
    digits: symbols.length > 13 ? 0 : 1,
    emphasis: source,
  };
  setHtml(select("#left"), columns(items, places));
  describe(
    select("#left"),
    `Strength left: ${items.map((item, t) => `${symbols[t]} ${format(item.value, 1)}`).join(", ")}`,
  );
  setHtml(select("#writing-takeaway"), writingTakeaway(symbols, full));
}

function writingTakeaway(symbols, full) {
  const mean = (kind) => {
    const found = full.filter((x, t) => x > 0 && kindOf(symbols[t]) === kind);
    return found.reduce((sum, x) => sum + x, 0) / found.length;
  };
  const ratio = mean("value") / mean("key");
  if (!(ratio > 2)) return "";
  return (
    `Digits are written ${format(ratio, 0)} times as strongly as letters: the ` +
    "network has learned what is worth keeping."
  );
}
