// Part 7: the same sequence in several networks.

import {
  columns,
  describe,
  drawMatrix,
  format,
  kindOf,
  largest,
  select,
  setHtml,
  tile,
} from "./draw.js";
import { pairs } from "./experiments.js";
import { queryOf, targetsOf } from "./sequences.js";
import { compute } from "./state.js";

export function showNetworks({ text }, { networks }) {
  const found = networks.map((network) => compute(network, { text, erased: [], settings: {} }));
  const cards = networks.map(
    ({ label, settings, numPairs }) => `<figure><h3>${label}</h3>
    <p class="caption">${settings.recurrence} recurrence, <span class="lambda">λ</span> = ${settings.decayRate}, ${pairs(numPairs)}</p>
    <div class="matrix"><canvas role="img"></canvas></div>
    <div class="columns h small" role="img"></div><p class="takeaway"></p></figure>`,
  );
  const container = select("#compared");
  setHtml(container, cards.join(""));
  setHtml(select("#untrained-note"), untrainedNote(found));
  found.forEach(({ network, memory, writes, weights, symbols, answer, probability }, i) => {
    const card = container.children[i];
    const canvas = card.querySelector("canvas");
    drawMatrix(canvas, memory, network.units, largest(memory));
    describe(canvas, `A of the network ${network.label} after the query`);
    const top = largest(weights);
    const items = writes.map(({ symbol }, t) => ({
      value: weights[t],
      label: tile(symbols[symbol]),
    }));
    const bars = card.querySelector(".columns");
    setHtml(bars, columns(items, { top, showValues: false, emphasis: weights.indexOf(top) }));
    describe(
      bars,
      "Attention: " +
        `${items.map(({ value }, t) => `${symbols[writes[t].symbol]} ${format(value)}`).join(", ")}`,
    );
    const isRight = targetsOf(text).includes(answer);
    setHtml(
      card.querySelector(".takeaway"),
      `It answers ${tile(answer)} ${isRight ? "✓" : "✗"}, with probability ${format(probability)}.`,
    );
  });
}

// Says that a query finds its letter also without training, if it does.
function untrainedNote(models) {
  const untrained = models.find(({ network }) => network.label === "Untrained");
  const { text, symbols, writes, weights } = untrained;
  const query = text.length - 1; // it matches itself
  const best = (isWanted) =>
    largest(
      writes
        .map(({ symbol }, t) => ({ symbol, weight: weights[t] }))
        .filter(({ symbol }) => symbol < query && kindOf(symbols[symbol]) === "key")
        .filter(({ symbol }) => isWanted(symbols[symbol]))
        .map(({ weight }) => weight),
    );
  const own = best((key) => key === queryOf(text));
  const other = best((key) => key !== queryOf(text));
  if (!(own > other && other > 0)) return "";
  return (
    "A memory of this kind works without training: with random slow weights, too, the query " +
    `gives more attention to its own letter (${format(own)}) than to any other (${format(other)}).`
  );
}
