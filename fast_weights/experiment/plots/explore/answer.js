// Part 5: to which digits each vector pushes the answer.

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

// Returns what each vector that was written adds to the scores, and what does not come from A.
function pushesOf({ network, settings, result, symbols, writes, text }) {
  const { slow, read, zero } = contributions(network, settings, result);
  const rows = read.map((part, t) => {
    const { symbol, strength } = writes[t];
    const isValue = kindOf(symbols[symbol]) === "value";
    const key = isValue ? symbols[symbol - 1] : "";
    // Several keys can have one digit.
    const label = `${isValue ? `<small>${key}</small>` : ""}${tile(symbols[symbol])}`;
    const name = `<span class="tiles">${label}</span>`;
    const isAsked = isValue && key === queryOf(text);
    const digit = isValue ? symbols[symbol] : "";
    return { name, key, digit, isAsked, isErased: strength === 0, part: centered(part) };
  });
  return { rows, rest: sumOf([centered(slow), centered(zero)]), total: centered(result.logits) };
}

// Returns what decides between two digits: `right`, a digit that was asked for, and `rival`, the
// best of the others. The `lead` of a vector is what it adds to the score of `right` minus what it
// adds to that of `rival`. All leads and that of the `rest` add up to `lead` exactly.
export function contest(model) {
  const { rows, rest, total } = pushesOf(model);
  const byScore = [...DIGITS].sort((a, b) => total[b] - total[a]);
  const targets = targetsOf(model.text);
  const right = byScore.find((digit) => targets.includes(digit));
  const rival = byScore.find((digit) => digit !== right);
  const leadOf = (part) => part[right] - part[rival];
  const vectors = rows.map((row) => ({ ...row, lead: leadOf(row.part) }));
  return { right, rival, vectors, rest: leadOf(rest), lead: leadOf(total) };
}

export const isFor = (digit) => (vector) => vector.digit === digit && !vector.isErased;
export const leadOfAll = (vectors) => vectors.reduce((sum, { lead }) => sum + lead, 0);

// Says in numbers why one digit wins over another.
export function reasonOf(model, { right, rival, vectors, lead } = contest(model)) {
  if (!model.settings.innerSteps) return "With S = 0, the network does not read its memory.";
  const own = vectors.filter((one) => one.isAsked && isFor(right)(one));
  const others = vectors.filter(isFor(rival));
  const over = (amount) => {
    const [high, low] = amount < 0 ? [rival, right] : [right, rival];
    return `${tile(high)} over ${tile(low)} by ${format(Math.abs(amount), 1)}`;
  };
  const list = (found) => {
    const names = found.map(({ name }) => name).join(" and ");
    const start = found.length > 1 ? `The vectors of ${names} lift` : `The vector of ${names} lifts`;
    return `${start} ${over(leadOfAll(found))}`;
  };
  const sum = others.length > 1 ? " together: with the same digit, they add up" : "";
  return [
    own.length ? `${list(own)}.` : "What was asked is not in the memory.",
    others.length ? `${list(others)}${sum}.` : "",
    `Everything else lifts ${over(lead - leadOfAll(own) - leadOfAll(others))}.`,
    `In all, ${tile(lead < 0 ? rival : right)} wins by ${format(Math.abs(lead), 1)}.`,
  ]
    .filter(Boolean)
    .join(" ");
}

export function showAnswer(model) {
  const { result, answer } = model;
  const { rows, rest, total } = pushesOf(model);
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
  body.push({ name: `<span class="term">not from <span class="A">A</span></span>`, part: rest });
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

// Says why the answer is what it is: which vector decides, or what beats the right one.
function answerTakeaway(rows, total, best, model) {
  const { answer, probability, settings, text } = model;
  const said = `The network answers ${tile(answer)} with probability ${format(probability)}.`;
  if (best < 0) return `${said} That is not even a digit.`;
  if (!settings.innerSteps) return `${said} It has not read its memory.`;
  if (!targetsOf(text).includes(answer)) return `${said} That is wrong. ${reasonOf(model)}`;
  const first = rows.reduce((found, row) => (row.part[best] > found.part[best] ? row : found));
  return (
    `${said} The vector written at ${first.name} adds ${format(first.part[best], 1)} ` +
    `to the score of ${answer}. Everything else together changes it by ` +
    `${format(total[best] - first.part[best], 1)}.`
  );
}
