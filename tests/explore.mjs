// Runs the modules of the page for test_explore.py: reads cases and writes results, both as JSON.
// The first argument is the directory of the modules.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const load = (name) => import(pathToFileURL(`${process.argv[2]}/${name}.js`));
const [network, sequences, state] = await Promise.all(["network", "sequences", "state"].map(load));
const cases = JSON.parse(readFileSync(0));

const largest = (values) => Math.max(...values.map(Math.abs));
const difference = (a, b) => largest(Array.from(a, (x, i) => x - b[i]));

function runNetwork({ network: encoded, sequences: all }) {
  const one = state.decode(encoded);
  const { settings } = one;
  const logits = [];
  const differences = { attention: 0, contributions: 0 };
  let weights;
  for (const tokens of all) {
    const result = network.run(one, settings, tokens);
    logits.push([...result.logits]);
    const now = tokens.length - 1;
    const last = result.steps[now];
    weights = last.queries.map((query) => {
      const weights = network.attention(query, result.writes, now, settings);
      const sum = network.weightedSum(
        weights,
        result.writes.map(({ vector }) => vector),
        one.units,
      );
      const read = network.product(query, last.memory, one.units);
      differences.attention = Math.max(differences.attention, difference(read, sum));
      return weights;
    });
    const { slow, read, zero } = network.contributions(one, settings, result);
    const total = result.logits.map(
      (_, i) => slow[i] + zero[i] + read.reduce((sum, part) => sum + part[i], 0),
    );
    differences.contributions = Math.max(
      differences.contributions,
      difference(total, result.logits),
    );
  }
  return { logits, weights, differences };
}

const answers = {
  networks: cases.networks.map(runNetwork),
  errors: cases.typed.map((text) => sequences.errorOf(text, cases)),
  addresses: cases.addresses.map((address) => {
    const found = state.fromAddress(address, cases.sample, cases.network);
    return { state: found, address: state.toAddress(found, cases.sample) };
  }),
  withPairs: Array.from({ length: 26 }, (_, i) => sequences.withPairs(cases.grown, i + 1)),
};
process.stdout.write(JSON.stringify(answers));
