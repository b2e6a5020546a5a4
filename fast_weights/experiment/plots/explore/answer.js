// Part 5: how each vector raises or lowers the score of each digit.

import { contributions } from "./network.js";
import { format, kindOf, select, setHtml, tile } from "./draw.js";
import { DIGITS, queryOf, targetsOf, VOCABULARY } from "./sequences.js";

const FIRST_DIGIT = VOCABULARY.indexOf(DIGITS[0]);
const MAX_ROWS = 11; // more vectors than that are summed up

// Returns the scores of the ten digits minus their mean.
function centered(logits) {
  const digits = [...logits.slice(FIRST_DIGIT, FIRST_DIGIT + 10)];
  const mean = digits.reduce((sum, x) => sum + x, 0) / 10;
  return digits.map((x) => x - mean);
}

const sumOf = (rows) =>
  rows.reduce((sum, row) => sum.map((x, i) => x + row[i]), new Array(10).fill(0));

export function showAnswer(model) {
  const { network, settings, result, symbols, writes, answer, text } = model;
  const { slow, read, zero } = contributions(network, settings, result);
  const rows = read.map((part, t) => {
    const { symbol } = writes[t];
    const isValue = kindOf(symbols[symbol]) === "value";
    const isAsked = isValue && symbols[symbol - 1] === queryOf(text);
    // Several keys can have one digit.
    const name = `${isValue ? `<small>${symbols[symbol - 1]}</small>` : ""}${tile(symbols[symbol])}`;
    return { name, part: centered(part), isAsked, digit: Number(symbols[symbol]) };
  });
  const size = ({ part }) => Math.max(...part.map(Math.abs));
  let shown = rows;
  let others = [];
  if (rows.length > MAX_ROWS) {
    const limit = rows.map(size).sort((a, b) => b - a)[MAX_ROWS - 2];
    shown = rows.filter((row) => size(row) >= limit);
    others = rows.filter((row) => size(row) < limit);
  }
  const body = [...shown];
  if (others.length)
    body.push({ name: `${others.length} others`, part: sumOf(others.map((one) => one.part)) });
  const rest = sumOf([centered(slow), centered(zero)]);
  body.push({ name: `<span class="term">not from <span class="A">A</span></span>`, part: rest });
  const total = centered(result.logits);
  const top = Math.max(...body.map(size));
  const best = DIGITS.indexOf(answer);
  setHtml(
    select("#pushes thead"),
    `<tr><td></td>${[...DIGITS].map((digit) => `<th scope="col">${tile(digit)}</th>`).join("")}</tr>`,
  );
  const lines = body.map(
    ({ name, part }) =>
      `<tr><th scope="row">${name}</th>${part.map((x) => heatCell(x, top)).join("")}</tr>`,
  );
  setHtml(select("#pushes tbody"), lines.join(""));
  const scores = total
    .map((x, i) => `<td class="${i === best ? "best" : ""}">${format(x, 1)}</td>`)
    .join("");
  const chances = [...result.probabilities.slice(FIRST_DIGIT, FIRST_DIGIT + 10)].map((x, i) => {
    const bar = `<i style="height:${format(100 * x, 1)}%"></i>`;
    return (
      `<td class="chance ${i === best ? "best" : ""}"><div>${bar}</div>` +
      `<span>${format(x)}</span></td>`
    );
  });
  setHtml(
    select("#pushes tfoot"),
    `<tr><th scope="row">score</th>${scores}</tr><tr>` +
      `<th scope="row">prob&shy;ability</th>${chances.join("")}</tr>`,
  );
  const elsewhere = [...result.probabilities].reduce(
    (sum, x, i) => sum + (kindOf(VOCABULARY[i]) === "value" ? 0 : x),
    0,
  );
  setHtml(select("#other-symbols"), `Letters and ? have ${format(elsewhere)} of the probability.`);
  setHtml(select("#answer-takeaway"), answerTakeaway(rows, total, best, model));
}

function heatCell(value, top) {
  const share = format((100 * Math.abs(value)) / (top || 1), 0);
  const kind = value < 0 ? "minus" : Math.abs(value) > 0.6 * top ? "plus deep" : "plus";
  return `<td class="${kind}" style="--share:${share}%">${format(value, 1)}</td>`;
}

// Returns the reason for the answer: the vector that decides, or what outweighs the right one.
function answerTakeaway(rows, total, best, { answer, probability, settings, text }) {
  const said = `The network answers ${tile(answer)} with probability ${format(probability)}.`;
  if (best < 0) return `${said} That is not even a digit.`;
  if (!settings.innerSteps) return `${said} It has not read its memory.`;
  const targets = targetsOf(text);
  const asked = rows.find(({ isAsked }) => isAsked);
  const first = rows.reduce((found, row) => (row.part[best] > found.part[best] ? row : found));
  if (targets.includes(answer) || !asked || asked.part[asked.digit] < 1) {
    const others = total[best] - first.part[best];
    return (
      `${said} The vector written at ${first.name} adds ${format(first.part[best], 1)} ` +
      `to the score of ${answer}. Everything else together changes it by ` +
      `${format(others, 1)}.`
    );
  }
  const right = asked.digit;
  return (
    `${said} That is wrong, although the vector of ${asked.name} still adds ` +
    `${format(asked.part[right], 1)} to the score of ${right}. Everything else ` +
    `together changes the score of ${right} by ` +
    `${format(total[right] - asked.part[right], 1)}, to ${format(total[right], 1)}, ` +
    `and lifts that of ${answer} to ${format(total[best], 1)}.`
  );
}
