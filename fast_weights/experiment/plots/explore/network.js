// The forward pass of RNN-LN-FW, to hold beside fast_weights/cells/fast_weights.py. It has the
// same names and the same order. Equation numbers are the README's, and those of the paper
// (Ba et al. 2016, arXiv 1610.06258).
//
// | symbol | name | shape |
// |---|---|---|
// | z_t = x_t W_x + b_x | `projected` | (H,) |
// | p_t, the preliminary vector | `preliminary` | (H,) |
// | v_t, the vector that step t writes | `written` | (H,) |
// | h of the inner loop, h_t | `hidden` | (H,) |
// | W_h | `network.recurrentKernel` | (H, H) |
// | gain, bias of LN | `network.gamma`, `network.beta` | (H,) |
// | λ, η, S | `decayRate`, `fastLearningRate`, `innerSteps` of `settings` | |
// | A_t, the fast weights | `memory` | (H, H) |
//
// All functions are pure. A matrix is a flat array, row after row. Weights are float32; the
// arithmetic is JavaScript's own, float64.

const relu = (vector) => vector.map((x) => Math.max(x, 0));
const add = (a, b) => a.map((x, i) => x + b[i]);
export function dot(a, b) {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}

// Returns vector · matrix: (N,), (N, M) -> (M,).
export function product(vector, matrix, columns) {
  const result = new Float64Array(columns);
  for (let i = 0; i < vector.length; i++) {
    const x = vector[i];
    if (x === 0) continue; // most units of a ReLU are zero
    for (let j = 0; j < columns; j++) result[j] += x * matrix[i * columns + j];
  }
  return result;
}

// (1) A_t = λ A_{t-1} + η v_tᵀ v_t.
export function write(memory, written, decayRate, fastLearningRate) {
  const units = written.length;
  const result = new Float64Array(units * units);
  for (let i = 0; i < units; i++) {
    const x = fastLearningRate * written[i];
    for (let j = 0; j < units; j++) {
      const k = i * units + j;
      result[k] = decayRate * memory[k] + x * written[j];
    }
  }
  return result;
}

// (4) The weights η λ^age (v_τ · h) with which h A_t adds up the vectors written so far. Without
// softmax: h A_t = Σ_τ weight_τ v_τ.
export function attention(query, writes, now, settings) {
  const { decayRate, fastLearningRate } = settings;
  return writes.map(({ step, strength, vector }) =>
    step > now ? 0 : strength * fastLearningRate * decayRate ** (now - step) * dot(vector, query),
  );
}

// The right side of equation 4: Σ_τ weight_τ v_τ.
export function weightedSum(weights, vectors, units) {
  const result = new Float64Array(units);
  weights.forEach((weight, t) => vectors[t].forEach((x, i) => (result[i] += weight * x)));
  return result;
}

// LN(a) = gain ∘ (a - mean(a)) / sqrt(variance(a) + epsilon) + bias, as the factors of a linear
// function of a: `scale` is gain / sqrt(variance + epsilon).
function standardize(inputs, network, settings) {
  const mean = inputs.reduce((sum, x) => sum + x, 0) / inputs.length;
  const centered = inputs.map((x) => x - mean);
  const deviation = Math.sqrt(dot(centered, centered) / inputs.length + settings.epsilon);
  return { centered, scale: network.gamma.map((gain) => gain / deviation) };
}

function normalize(inputs, network, settings) {
  if (settings.normalization === "none") return inputs;
  // The mean over a batch of one sequence is the sequence itself, so that only the bias is left.
  if (settings.normalization === "batch") return Float64Array.from(network.beta);
  const { centered, scale } = standardize(inputs, network, settings);
  return centered.map((x, i) => scale[i] * x + network.beta[i]);
}

// Computes one step. `strength` is 1, or 0 for a write that is erased.
export function traceStep(network, settings, projected, hidden, memory, strength = 1) {
  const { units, recurrentKernel } = network;
  // Preliminary vector.
  const preliminary = relu(add(projected, product(hidden, recurrentKernel, units)));
  // (1) Decay A and write one vector.
  const written = settings.recurrence === "original" ? preliminary : hidden;
  const rate = strength * settings.fastLearningRate;
  memory = write(memory, written, settings.decayRate, rate);
  // (5) Inner loop: read A while the slow term stays fixed.
  const slowTerm = add(projected, product(written, recurrentKernel, units));
  hidden = preliminary;
  const queries = [];
  const sums = [];
  for (let s = 0; s < settings.innerSteps; s++) {
    queries.push(hidden);
    const read = product(hidden, memory, units);
    sums.push(add(slowTerm, read));
    hidden = relu(normalize(sums[s], network, settings));
  }
  return { hidden, memory, written, queries, slowTerm, sums, preliminary };
}

// Runs a sequence of tokens. `erased` holds the steps whose writes are left out.
export function run(network, settings, tokens, erased = []) {
  const { units, inputs } = network;
  let hidden = new Float64Array(units);
  let memory = new Float64Array(units * units);
  const steps = tokens.map((token, t) => {
    // x_t is one-hot, so x_t W_x + b_x is one row of a table.
    const projected = Float64Array.from(inputs.subarray(token * units, (token + 1) * units));
    const strength = erased.includes(t) ? 0 : 1;
    const step = traceStep(network, settings, projected, hidden, memory, strength);
    ({ hidden, memory } = step);
    return step;
  });
  const logits = applyHead(network, hidden);
  return {
    steps,
    logits,
    probabilities: softmax(logits),
    writes: writesOf(steps, settings, erased),
  };
}

// The layers after the recurrent one: the logits, and ReLUs before them in the paper's network.
export function applyHead(network, hidden) {
  return network.head.reduce((inputs, layer) => {
    const outputs = add(product(inputs, layer.kernel, layer.bias.length), layer.bias);
    return layer.relu ? relu(outputs) : outputs;
  }, hidden);
}

export function softmax(logits) {
  const top = Math.max(...logits);
  const exponentials = logits.map((x) => Math.exp(x - top));
  const sum = exponentials.reduce((total, x) => total + x, 0);
  return exponentials.map((x) => x / sum);
}

// The vector of each symbol and the step that writes it. The paper's recurrence writes the state
// after a symbol at the next step, so the last symbol's vector is not written any more, and the
// first step writes zeros, which belong to no symbol.
export function writesOf(steps, settings, erased) {
  const delay = settings.recurrence === "original" ? 0 : 1;
  return steps.slice(0, steps.length - delay).map((_, symbol) => {
    const step = symbol + delay;
    const strength = erased.includes(step) ? 0 : 1;
    return { symbol, step, strength, vector: steps[step].written };
  });
}

// Returns what each term of the last inner step's sum adds to the logits: `slow`, the slow term;
// `read`, the vectors that were read; `zero`, the biases. They add up to the logits exactly, because
// all that follows the sum is linear once the deviation of LN and the set of active units are known.
// Another sum would have others, so a term's part is not what erasing the term would change.
export function contributions(network, settings, { steps, writes }) {
  const { units } = network;
  const now = steps.length - 1;
  const { sums, queries, slowTerm, preliminary, hidden } = steps[now];
  const s = settings.innerSteps - 1;
  const hasRead = s >= 0; // without inner steps, h_t = p_t
  const normalization = hasRead ? settings.normalization : "none";
  let scale = new Float64Array(units).fill(normalization === "batch" ? 0 : 1);
  if (normalization === "layer") ({ scale } = standardize(sums[s], network, settings));
  const masks = activeUnits(network, hidden);
  const linear = (vector) => {
    const mean = normalization === "layer" ? vector.reduce((sum, x) => sum + x, 0) / units : 0;
    return propagate(
      network,
      vector.map((x, i) => scale[i] * (x - mean)),
      masks,
    );
  };
  const weights = hasRead ? attention(queries[s], writes, now, settings) : writes.map(() => 0);
  const bias = normalization === "none" ? new Float64Array(units) : network.beta;
  return {
    slow: linear(hasRead ? slowTerm : preliminary),
    read: writes.map(({ vector }, t) => linear(vector.map((x) => weights[t] * x))),
    zero: propagate(network, bias, masks, true),
  };
}

// For the hidden state and for each layer of the head, 1 where a unit is active.
function activeUnits(network, hidden) {
  const masks = [hidden.map((x) => (x > 0 ? 1 : 0))];
  let inputs = hidden;
  for (const layer of network.head) {
    const outputs = add(product(inputs, layer.kernel, layer.bias.length), layer.bias);
    masks.push(outputs.map((x) => (!layer.relu || x > 0 ? 1 : 0)));
    inputs = layer.relu ? relu(outputs) : outputs;
  }
  return masks;
}

// Sends a part of the sum through the last activation and the head, with fixed active units.
function propagate(network, vector, masks, withBias = false) {
  return network.head.reduce(
    (inputs, layer, i) => {
      const outputs = product(inputs, layer.kernel, layer.bias.length);
      return outputs.map((x, j) => masks[i + 1][j] * (withBias ? x + layer.bias[j] : x));
    },
    vector.map((x, i) => masks[0][i] * x),
  );
}
