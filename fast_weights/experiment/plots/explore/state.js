// What the reader has chosen, its form in the address, and what the network computes from it.

import { attention, product, run, weightedSum } from "./network.js";
import { encode, isSequence, VOCABULARY } from "./sequences.js";

// The sliders: their name in the address, their largest value, and their step.
export const SLIDERS = {
  decayRate: { key: "lambda", max: 1, step: 0.01 },
  fastLearningRate: { key: "eta", max: 2, step: 0.05 },
  innerSteps: { key: "S", max: 3, step: 1 },
};
export const VIEWS = ["matrix", "attention"];
export const UNFOLDS = ["cell", "row", "column"];

// Returns the state in which the page starts with a sequence.
export function initialState(text) {
  return {
    text, // the sequence
    base: text, // the sequence before any experiment
    step: Math.min(3, text.length - 1), // of the part on writing
    erased: [], // the symbols whose writes are erased
    settings: {}, // λ, η and S, if they are not those of the training
    cell: null, // [row, column]; null: the strongest weight
    unfold: "cell",
    view: "matrix",
  };
}

// Returns the part of an address after the #, which holds only what differs from the start.
export function toAddress(state, sample) {
  const start = initialState(state.base);
  const found = new URLSearchParams();
  if (state.base !== sample) found.set("from", state.base);
  if (state.text !== state.base) found.set("sequence", state.text);
  for (const name of ["step", "unfold", "view"]) {
    if (state[name] !== start[name]) found.set(name, state[name]);
  }
  if (state.erased.length) found.set("erase", state.erased.join("."));
  if (state.cell) found.set("cell", state.cell.join("."));
  for (const [name, { key }] of Object.entries(SLIDERS)) {
    if (name in state.settings) found.set(key, state.settings[name]);
  }
  return found.toString();
}

// Returns the largest value of a slider, which has that of the training.
export const limitOf = (name, { settings }) => Math.max(SLIDERS[name].max, settings[name]);

// Returns the state of an address. What is missing or invalid is as at the start.
export function fromAddress(address, sample, network) {
  const given = new URLSearchParams(address);
  const choose = (name, isValid, otherwise) => {
    const value = given.get(name);
    return value !== null && isValid(value) ? value : otherwise;
  };
  const isExperiment = (text) => isSequence(text, true);
  const integers = (name, limit) => {
    const values = (given.get(name) ?? "").split(".").filter((part) => /^\d+$/.test(part));
    return values.map(Number).filter((value) => value < limit);
  };
  const base = choose("from", isExperiment, sample);
  const text = choose("sequence", isExperiment, base);
  const start = { ...initialState(text), base };
  const cell = integers("cell", network.units);
  const settings = {};
  for (const [name, { key, step }] of Object.entries(SLIDERS)) {
    const value = Number(given.get(key) ?? NaN);
    const isInRange = value >= 0 && value <= limitOf(name, network);
    if (isInRange && value !== network.settings[name] && (step < 1 || Number.isInteger(value))) settings[name] = value;
  }
  return {
    ...start,
    step: integers("step", text.length)[0] ?? start.step,
    erased: integers("erase", text.length),
    cell: cell.length === 2 ? cell : null,
    unfold: choose("unfold", (value) => UNFOLDS.includes(value), start.unfold),
    view: choose("view", (value) => VIEWS.includes(value), start.view),
    settings,
  };
}

// Returns a network with its weights as numbers, which the page has as base64 float32.
export function decode(network) {
  const weights = (text) => {
    const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
    return Float64Array.from(new Float32Array(bytes.buffer));
  };
  const names = ["inputs", "recurrentKernel", "gamma", "beta"];
  const head = network.head.map((layer) => ({
    ...layer,
    kernel: weights(layer.kernel),
    bias: weights(layer.bias),
  }));
  return {
    ...network,
    head,
    ...Object.fromEntries(names.map((name) => [name, weights(network[name])])),
  };
}

export const isChanged = (state) =>
  state.text !== state.base || state.erased.length > 0 || Object.keys(state.settings).length > 0;

// Returns all that the parts of the page show of one network and one state.
export function compute(network, { text, erased, settings: changes }) {
  const settings = { ...network.settings, ...changes };
  const delay = settings.recurrence === "original" ? 0 : 1;
  const result = run(
    network,
    settings,
    encode(text),
    erased.map((symbol) => symbol + delay),
  );
  const { steps, writes, probabilities } = result;
  const now = steps.length - 1;
  const last = steps[now];
  const query = last.queries[last.queries.length - 1] ?? new Float64Array(network.units);
  const weights = attention(query, writes, now, settings);
  const vectors = writes.map((one) => one.vector);
  const best = probabilities.indexOf(Math.max(...probabilities));
  return {
    ...{ network, settings, text, symbols: [...text], erased, delay },
    ...{ result, steps, writes, now, memory: last.memory, query, weights, vectors },
    read: product(query, last.memory, network.units),
    summed: weightedSum(weights, vectors, network.units),
    answer: VOCABULARY[best],
    probability: probabilities[best],
  };
}
