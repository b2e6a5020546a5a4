// Puts the parts together: one state, one run of the network, seven pictures of it.

import { showAnswer } from "./answer.js";
import { computeLater, computeNow } from "./background.js";
import { setUpCell, showCell } from "./cell.js";
import { describe, drawMatrix, forgetColors, largest, select, setHtml, tile } from "./draw.js";
import {
  setUpExperiments,
  showChanges,
  showCosines,
  showErase,
  showOutcome,
  showSliders,
  showVersus,
} from "./experiments.js";
import { setUpGuess, showGuess } from "./guess.js";
import { showNetworks } from "./networks.js";
import { setUpReading, showReading } from "./reading.js";
import { queryOf } from "./sequences.js";
import { compute, decode, fromAddress, initialState, isChanged, toAddress } from "./state.js";
import { setUpWriting, showWriting } from "./writing.js";

const MILLISECONDS_TO_ADDRESS = 300; // browsers limit how often the address may change

const data = JSON.parse(select("#data").textContent);
data.networks = data.networks.map(decode);

const [network] = data.networks;
let state = fromAddress(location.hash.slice(1), data.sample, network);
let model = compute(network, state);
let earlier = []; // the states before each experiment
let lastKind = ""; // of experiment: a slider that is dragged is one
let addressTimer = 0;

function update(changes) {
  const { text, erased, settings } = { ...state, ...changes };
  const isNew = text !== state.text || erased !== state.erased || settings !== state.settings;
  state = { ...state, ...changes };
  if (text !== model.text) state.step = Math.min(state.step, text.length - 1);
  if (isNew) model = compute(network, state);
  if ("base" in changes) [earlier, lastKind] = [[], ""];
  show();
  clearTimeout(addressTimer);
  addressTimer = setTimeout(saveAddress, MILLISECONDS_TO_ADDRESS);
}

function saveAddress() {
  const address = toAddress(state, data.sample);
  if (address !== location.hash.slice(1)) history.replaceState(null, "", `#${address}`);
}

function experiment(changes, kind = "") {
  if (!kind || kind !== lastKind) earlier.push(state);
  lastKind = kind;
  update(changes);
}

function undo() {
  const { text, erased, settings } = earlier.pop() ?? initialState(state.base);
  lastKind = "";
  update({ text, erased, settings });
  // The button in the bar is gone. Without this, the focus of the keyboard is lost.
  const { activeElement, body } = document;
  const isLost = activeElement === body || activeElement.hidden;
  if (isLost) select("#open-glossary").focus({ preventScroll: true });
}

function reset() {
  const { text, base, erased, settings } = initialState(state.base);
  update({ text, base, erased, settings });
}

// Each part is drawn again when what it shows has changed: at once if it is in view, or else soon, so
// that a key press costs no more than what its reader sees.
const parts = [
  { id: "hero", draw: () => showHero(model) },
  { id: "guess", draw: () => showGuess(model) },
  { id: "writing", draw: () => showWriting(model, state), needs: ["step"] },
  { id: "cell", draw: () => showCell(model, state), needs: ["cell", "unfold"] },
  { id: "reading", draw: () => showReading(model, state), needs: ["view"] },
  { id: "answer", draw: () => showAnswer(model) },
  { id: "outcome", draw: () => showOutcome(model, state), needs: ["base"] },
  { id: "erasing", draw: () => showErase(model) },
  { id: "changes", draw: () => showChanges(model) },
  { id: "sliders", draw: () => showSliders(model) },
  { id: "pairs", draw: () => showVersus(model) },
  { id: "interference", draw: () => showCosines(model) },
  // The other networks do not take part in the experiments with the memory.
  { id: "networks", draw: () => showNetworks(model, data), source: () => model.text },
].map((part) => ({
  needs: [],
  source: () => model,
  ...part,
  element: select(`#${part.id}`),
  isInView: true,
  drawn: {},
}));

function isOutOfDate({ drawn, needs, source }) {
  return drawn.source !== source() || needs.some((name) => drawn.state[name] !== state[name]);
}

function draw(part) {
  if (!isOutOfDate(part)) return;
  part.drawn = { source: part.source(), state };
  part.draw();
}

let drawnBar = null;
function show(everything = false) {
  if (drawnBar !== model) {
    drawnBar = model;
    showBar();
    computeLater(model);
  }
  for (const part of parts) {
    if (everything || part.isInView) draw(part);
    else if (isOutOfDate(part)) setTimeout(draw, 0, part);
  }
}

const observer = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting, boundingClientRect } of entries) {
    const part = parts.find(({ element }) => element === target);
    part.isInView = isIntersecting;
    // The bar keeps the answer back until the reader has guessed or read on.
    const isPassed = part.id === "guess" && boundingClientRect.bottom < 0;
    if (isPassed) document.documentElement.dataset.passed = "";
  }
});
for (const { element } of parts) observer.observe(element);

function showBar() {
  const { symbols, answer, erased, text, settings } = model;
  const tiles = symbols.map((symbol, t) =>
    erased.includes(t) ? `<s>${tile(symbol)}</s>` : tile(symbol),
  );
  setHtml(select("#bar-sequence"), `<span>${tiles.join("")}</span>`);
  describe(select("#bar-sequence"), `The sequence ${symbols.join(" ")}`);
  setHtml(select("#bar-answer"), tile(answer));
  select("#undo").hidden = !isChanged(state);
  for (const place of document.querySelectorAll(".query-symbol"))
    setHtml(place, tile(queryOf(text)));
  for (const place of document.querySelectorAll(".sample"))
    setHtml(place, symbols.map(tile).join(""));
  for (const place of document.querySelectorAll(".units")) setHtml(place, `${network.units}`);
  document.documentElement.dataset.recurrence = settings.recurrence;
}

function showHero({ memory }) {
  drawMatrix(select("#hero"), memory, network.units, largest(memory));
}

function redraw() {
  forgetColors();
  drawnBar = null;
  for (const part of parts) part.drawn = {};
  show(true);
}

const view = { data, update, experiment, undo, reset, state: () => state, model: () => model };
for (const setUp of [setUpGuess, setUpWriting, setUpCell, setUpReading, setUpExperiments])
  setUp(view);
select("#caption").textContent = data.caption;
select("#open-glossary").addEventListener("click", () => select("#glossary").showModal());
select("#glossary").addEventListener(
  "click",
  ({ target }) => target === select("#glossary") && target.close(),
);
window.addEventListener("hashchange", () => {
  const address = location.hash.slice(1);
  if (document.getElementById(address)) return; // a link within the page
  state = fromAddress(address, data.sample, network);
  model = compute(network, state);
  [earlier, lastKind] = [[], ""];
  show();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => redraw());
// Paper is white, whatever the screen is.
for (const [event, isPrinted] of [
  ["beforeprint", true],
  ["afterprint", false],
]) {
  window.addEventListener(event, () => {
    if (isPrinted) computeNow();
    document.documentElement.classList.toggle("on-paper", isPrinted);
    redraw();
  });
}
show();
// A link to an experiment leads to its part.
document.getElementById(new URLSearchParams(location.hash.slice(1)).get("part"))?.scrollIntoView();
