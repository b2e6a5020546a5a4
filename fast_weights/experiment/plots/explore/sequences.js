// The task: letter-digit pairs, `??` and one of the letters. The answer is that letter's digit.

export const VOCABULARY = "abcdefghijklmnopqrstuvwxyz0123456789?";
export const DIGITS = "0123456789";
const LETTERS = VOCABULARY.slice(0, 26);
// Pairs to add to a sequence, one after the other.
const MORE_PAIRS = "a4j7p1u2l5t2f1w3z1v5i0n8y2e0x5s7b9h2q2c8m0d7r2g5o8k1".match(/../g);

export const encode = (text) => [...text].map((symbol) => VOCABULARY.indexOf(symbol));
export const pairsOf = (text) => text.slice(0, -3).match(/../g) ?? [];
export const queryOf = (text) => text[text.length - 1];
const join = (pairs, query) => `${pairs.join("")}??${query}`;

// Returns the digits that the sequence pairs with its query: one, or several if a key is repeated.
export function targetsOf(text) {
  const found = pairsOf(text).filter(([key]) => key === queryOf(text));
  return found.map(([, value]) => value);
}

// Returns whether a text has the form of a sequence. Only an experiment may repeat a key.
export function isSequence(text, isExperiment = false) {
  const keys = pairsOf(text).map(([key]) => key);
  const isDistinct = isExperiment || new Set(keys).size === keys.length;
  const hasForm = /^([a-z][0-9]){1,26}\?\?[a-z]$/.test(text);
  return hasForm && isDistinct && keys.includes(queryOf(text));
}

// Returns what is wrong with a typed sequence, in the words of test.py, or "". The page takes any
// number of pairs.
export function errorOf(text, { sample }) {
  if (isSequence(text)) return "";
  const unknown = [...text].filter((symbol) => !VOCABULARY.includes(symbol)).join("");
  return (
    "a sample must be 1 to 26 letter-digit pairs with distinct letters, then ??, then one of " +
    `the letters, such as ${sample}. Received: '${text}'` +
    (unknown && `, where '${unknown}' is unknown`)
  );
}

// Swaps the values of the first two pairs, if there are two.
export function swapValues(text) {
  const [first, second, ...others] = pairsOf(text);
  if (!second) return text;
  return join([first[0] + second[1], second[0] + first[1], ...others], queryOf(text));
}

// Gives the last pair the key of the query, or the first pair if the last one has it.
export function repeatKey(text) {
  const pairs = pairsOf(text);
  const last = pairs.length - 1;
  const place = pairs[last][0] === queryOf(text) ? 0 : last;
  pairs[place] = queryOf(text) + pairs[place][1];
  return join(pairs, queryOf(text));
}

// Returns the text with `count` pairs: without the last ones, or with new ones at the end. The pair
// of the query stays.
export function withPairs(text, count) {
  const pairs = pairsOf(text);
  while (pairs.length > count) {
    const place = pairs.findLastIndex(([key]) => key !== queryOf(text));
    pairs.splice(place < 0 ? pairs.length - 1 : place, 1);
  }
  for (const pair of MORE_PAIRS) {
    const isNew = pairs.every(([key]) => key !== pair[0]);
    if (pairs.length < count && isNew) pairs.push(pair);
  }
  return join(pairs, queryOf(text));
}

// Returns a generator of numbers in [0, 1) that are the same on every visit (mulberry32).
export function randomNumbers(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let x = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x;
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  };
}

export function randomSequence(count, random) {
  const letters = [...LETTERS];
  const pairs = Array.from({ length: count }, () => {
    const [letter] = letters.splice(Math.floor(random() * letters.length), 1);
    return letter + DIGITS[Math.floor(random() * 10)];
  });
  return join(pairs, pairs[Math.floor(random() * count)][0]);
}
