// Part 1: the sequence appears, and the reader answers before the network.

import { describe, format, press, select, setHtml, tile } from "./draw.js";
import {
  DIGITS,
  errorOf,
  isSequence,
  pairsOf,
  queryOf,
  randomSequence,
  targetsOf,
} from "./sequences.js";
import { initialState } from "./state.js";

let guess = ""; // a digit, or "none" to see the answer without a guess

export function setUpGuess({ data, update, state, model }) {
  const start = (text) => {
    guess = "";
    delete document.documentElement.dataset.passed;
    select("#text-error").textContent = "";
    update({ ...initialState(text) });
    replay();
  };
  const digits = [...DIGITS].map(
    (digit) => `<button type="button" value="${digit}">${digit}</button>`,
  );
  select("#guess-digits").innerHTML =
    `${digits.join("")}<button type="button" value="none">Show me</button>`;
  select("#guess-digits").addEventListener("click", ({ target }) => {
    if (!target.value) return;
    guess = target.value;
    showGuess(model());
  });
  select("#typed").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = select("#text").value.trim();
    // An experiment may have repeated a key of the sequence that is shown.
    const isValid = isSequence(text) || text === state().text;
    if (isValid) start(text);
    select("#text-error").textContent = isValid ? "" : errorOf(text, data);
    select("#text").setAttribute("aria-invalid", !isValid);
  });
  select("#random").addEventListener("click", () =>
    start(randomSequence(pairsOf(state().text).length, Math.random)),
  );
  select("#replay").addEventListener("click", replay);
  select("#ask").addEventListener("click", ({ target }) => {
    if (target.value) start(`${state().text.slice(0, -1)}${target.value}`);
  });
}

// Lets the symbols appear one after the other. CSS does not, if the reader wants less motion.
function replay() {
  const sequence = select("#guess-sequence");
  sequence.innerHTML = sequence.innerHTML; // new elements start their animations
}

export function showGuess({ text, symbols, answer, probability }) {
  const query = queryOf(text);
  const delayed = symbols.map((symbol, t) => tile(symbol).replace(">", ` style="--t:${t}">`));
  setHtml(
    select("#guess-sequence"),
    `${delayed.join("")}<b class="tile open" style="--t:${symbols.length}">${guess ? answer : "…"}</b>`,
  );
  describe(select("#guess-sequence"), `The sequence ${symbols.join(" ")}`);
  const keys = [...new Set(pairsOf(text).map(([key]) => key))];
  setHtml(
    select("#ask"),
    keys.map((key) => `<button type="button" value="${key}">${key}</button>`).join(""),
  );
  press(select("#ask").children, (button) => button.value === query);
  press(select("#guess-digits").children, (button) => button.value === guess);
  if (document.activeElement !== select("#text") && !select("#text-error").textContent)
    select("#text").value = text;
  const targets = targetsOf(text);
  const isRight = targets.includes(answer);
  document.documentElement.dataset.guess = guess ? "made" : "open";
  let message = `Which digit followed <b>${query}</b>? Choose one.`;
  if (guess) {
    const own =
      guess === "none" ? "" : `You say ${guess}${targets.includes(guess) ? " ✓" : " ✗"}. `;
    message =
      `${own}The network answers <b>${answer}</b> ${isRight ? "✓" : "✗"}, with ` +
      `probability ${format(probability)}.`;
  }
  setHtml(select("#guess-result"), message);
}
