// Part 3: one weight, one row or one column of A as a sum over the symbols.

import {
  describe,
  drawMatrix,
  format,
  largest,
  percent,
  press,
  select,
  setHtml,
  tile,
} from "./draw.js";

export function setUpCell({ update, state, model }) {
  const matrix = select("#cell-matrix");
  const point = (event) => {
    const { left, top, width, height } = select("#cell-canvas").getBoundingClientRect();
    const { units } = model().network;
    const place = (offset, size) =>
      Math.max(0, Math.min(units - 1, Math.floor((offset / size) * units)));
    update({ cell: [place(event.clientY - top, height), place(event.clientX - left, width)] });
  };
  matrix.addEventListener("pointermove", point);
  matrix.addEventListener("pointerdown", point);
  for (const [i, id] of ["#cell-row", "#cell-column"].entries()) {
    select(id).addEventListener("input", ({ target }) => {
      const cell = [...chosenCell(model(), state())];
      cell[i] = Number(target.value);
      update({ cell });
    });
  }
  select("#unfold").addEventListener("click", ({ target }) => {
    if (target.value) update({ unfold: target.value });
  });
}

// At the start, the strongest weight of A.
function chosenCell({ memory, network: { units } }, { cell }) {
  if (cell) return cell;
  const place = memory.indexOf(largest(memory));
  return [Math.floor(place / units), place % units];
}

export function showCell(model, state) {
  const { memory, writes, now, settings, symbols, network } = model;
  const { units } = network;
  const [row, column] = chosenCell(model, state);
  drawMatrix(select("#cell-canvas"), memory, units, largest(memory));
  describe(
    select("#cell-canvas"),
    `A after the query, ${units} by ${units}. Row ${row} and column ${column} are marked.`,
  );
  const { style } = select("#cell-matrix");
  style.setProperty("--row", row / units);
  style.setProperty("--column", column / units);
  style.setProperty("--size", 1 / units);
  select("#cell-matrix").dataset.unfold = state.unfold;
  for (const [id, value] of [
    ["#cell-row", row],
    ["#cell-column", column],
  ]) {
    Object.assign(select(id), { max: units - 1, value });
  }
  press(select("#unfold").children, (button) => button.value === state.unfold);

  // In a row or a column, the other factor is the sum of the vector.
  const sum = (vector) => vector.reduce((total, x) => total + x, 0);
  const factors = {
    cell: (vector) => [vector[row], vector[column]],
    row: (vector) => [vector[row], sum(vector)],
    column: (vector) => [sum(vector), vector[column]],
  }[state.unfold];
  const parts = writes.map(({ vector, step, symbol, strength }) => {
    const [a, b] = factors(vector);
    const age = now - step;
    const rate = strength * settings.fastLearningRate;
    return { symbol, age, a, b, rate, value: rate * settings.decayRate ** age * a * b };
  });
  const total = parts.reduce((all, { value }) => all + value, 0);
  const top = largest(parts.map(({ value }) => value));
  const rows = parts.map(({ symbol, age, a, b, rate, value }) => {
    const width = format((100 * value) / (top || 1), 1);
    const product =
      `${format(rate)} · <span class="lambda">${settings.decayRate}<sup>${age}</sup>` +
      `</span> · <span class="v">${format(a)} · ${format(b)}</span>`;
    return (
      `<tr class="${value === 0 ? "none" : ""}">` +
      `<th scope="row">${tile(symbols[symbol])}</th><td class="product">${product}</td>` +
      `<td class="meter"><i style="width:${width}%"></i></td>` +
      `<td class="number">${format(value, 3)}</td></tr>`
    );
  });
  rows.push(
    `<tr class="total"><th scope="row">Σ</th><td></td><td></td>` +
      `<td class="number">${format(total, 3)}</td></tr>`,
  );
  setHtml(select("#cell-parts tbody"), rows.join(""));
  const names = {
    cell:
      `Weight <span class="A">A</span><sub>${row},${column}</sub> = ` +
      `${format(memory[row * units + column], 3)}`,
    row: `Row ${row}, summed over its ${units} weights`,
    column: `Column ${column}, summed over its ${units} weights`,
  };
  setHtml(select("#cell-name"), names[state.unfold]);
  const strongest = parts.find(({ value }) => value === top);
  setHtml(
    select("#cell-takeaway"),
    total > 0
      ? `${percent(top / total)} of it was written at ${tile(symbols[strongest.symbol])}.`
      : parts.some(({ a, b }) => a * b > 0)
        ? "Nothing is left of what was written here."
        : "No symbol has written here: in every vector, one of the two numbers is zero.",
  );
}
