"""The equations in float64 NumPy, one step at a time.

Written from the equations, not from the package, which this module never imports. Those of
the fast weights have the paper's numbers. A step takes the weights as a dict of arrays, one
input (D,) and the state, and returns the new state as a tuple. `mask` is the dropout mask of the
vectors that W_h multiplies.
"""

import random

import numpy as np


def relu(a):
    return np.maximum(a, 0.0)


def sigmoid(a):
    return 1.0 / (1.0 + np.exp(-a))


def layer_norm(a, gain, bias, epsilon):
    mean, variance = np.mean(a, axis=-1, keepdims=True), np.var(a, axis=-1, keepdims=True)
    return gain * (a - mean) / np.sqrt(variance + epsilon) + bias


def control_step(w, x, h, mask=1):
    return (relu(x @ w["kernel"] + w["bias"] + (mask * h) @ w["recurrent_kernel"]),)


def layer_norm_rnn_step(w, x, h, epsilon, mask=1):
    (a,) = control_step(w, x, h, mask)
    return (layer_norm(a, w["gamma"], w["beta"], epsilon),)


def layer_norm_gru_step(w, x, h, epsilon, gates="original", mask=1):
    size = len(h)

    def linear(h, columns):
        kernel, recurrent = w["kernel"][:, columns], w["recurrent_kernel"][:, columns]
        return x @ kernel + w["bias"][columns] + (mask * h) @ recurrent

    first, middle, last = slice(size), slice(size, 2 * size), slice(-size, None)
    r_normal = layer_norm(linear(h, first), w["reset_gamma"], w["reset_beta"], epsilon)
    u_before = r_normal if gates == "original" else linear(h, middle)
    u = sigmoid(layer_norm(u_before, w["update_gamma"], w["update_beta"], epsilon))
    c = np.tanh(linear(sigmoid(r_normal) * h, last))
    return (u * h + (1 - u) * c,)


def batch_norm(a, gain, bias, epsilon):
    """Normalizes each unit over the examples, (B, H)."""
    return gain * (a - np.mean(a, axis=0)) / np.sqrt(np.var(a, axis=0) + epsilon) + bias


def no_norm(a, gain, bias, epsilon):
    return a


NORMS = {"layer": layer_norm, "batch": batch_norm, "none": no_norm}


def fast_weights_step(w, x, h, A, record=None, normalization="layer", f=relu, mask=1, **settings):
    """Returns h_t and A_t; appends v_t and the vectors that read A_t to the list `record`.

    Takes one example, or a batch with the examples as the first axis.
    """
    z = x @ w["kernel"] + w["bias"]
    p = f(z + (mask * h) @ w["recurrent_kernel"])
    # (1) With "paper", A is A(t - 1) of the paper, written from the state after step t - 1.
    v = h if settings.get("recurrence") == "paper" else p
    outer = v[..., :, None] * v[..., None, :]
    A = settings["decay_rate"] * A + settings["fast_learning_rate"] * outer
    # (5)
    states = [p]
    for _ in range(settings["inner_steps"]):
        read = np.einsum("...i,...ij->...j", states[-1], A)
        a = z + (mask * v) @ w["recurrent_kernel"] + read
        gain_and_bias = w.get("gamma"), w.get("beta")
        states.append(f(NORMS[normalization](a, *gain_and_bias, settings["epsilon"])))
    if record is not None:
        record.append((v, states[:-1]))
    return states[-1], A


def associative_lstm_step(w, x, h, c, num_copies, num_heads, mask=1):
    """Returns h_t and c_t, both flat. Here, complex numbers are Python's."""
    a = x @ w["kernel"] + w["bias"] + (mask * h) @ w["recurrent_kernel"]
    half = len(c) // (2 * num_copies)
    gates = sigmoid(a[: 3 * half]).reshape(3, half)

    def parts(flat):
        real, imaginary = flat.reshape(2, -1)
        return real + 1j * imaginary

    def bound(z):
        return z / np.maximum(1, np.abs(z))

    vectors = a[3 * half :].reshape(3, num_heads, 2 * half)
    permutations = [random.Random(s).sample(range(half), half) for s in range(num_copies)]
    memory = parts(c).reshape(num_copies, half) * gates[0]
    for head in range(num_heads):
        key, update = (bound(parts(vectors[kind, head])) for kind in (0, 1))
        for s, order in enumerate(permutations):
            memory[s] += key[order] * gates[1] * update
    outputs = []
    for head in range(num_heads):
        key = bound(parts(vectors[2, head]))
        read = np.mean([key[order] * memory[s] for s, order in enumerate(permutations)], axis=0)
        read = gates[2] * bound(read)
        outputs += [read.real, read.imag]
    return np.concatenate(outputs), np.concatenate([memory.real.ravel(), memory.imag.ravel()])


def silu(a):
    return a * sigmoid(a)


def elu_plus_1(a):
    return np.where(a > 0, a + 1, np.exp(np.minimum(a, 0)))


FEATURE_MAPS = {
    "elu": elu_plus_1,
    "relu": relu,
    "softmax": lambda a: np.exp(a) / np.sum(np.exp(a)),
    "sum": lambda a: elu_plus_1(a) / np.sum(elu_plus_1(a)),
    "l2": lambda a: a / np.sqrt(np.sum(a * a) + 1e-6),
    "identity": lambda a: a,
}


def linear_attention_rule(S, q, k, v, beta, alpha):
    """Katharopoulos et al. 2020, equations 18 to 20. The last row of S is their z."""
    S = S + np.outer([*v, 1], k)
    return S, S[:-1] @ q / (S[-1] @ q + 1e-6)


def sum_rule(S, q, k, v, beta, alpha):
    """The same without a denominator."""
    S = S + np.outer(v, k)
    return S, S @ q


def delta_rule(S, q, k, v, beta, alpha):
    """Yang et al. 2024, arXiv 2412.06464, equation 10: S(α(I - β k kᵀ)) + β v kᵀ."""
    S = S @ (alpha * (np.eye(len(k)) - beta * np.outer(k, k))) + beta * np.outer(v, k)
    return S, S @ q


def linear_step(w, x, h, S, window, rule, feature_map, num_heads=1, epsilon=0.0, f=silu):
    """Returns h_t, the S of all heads and the inputs of the convolution, both flat.

    A head's S has a row for each number of a value here, as in the papers, and a column there.
    """
    n, filters = num_heads, w.get("convolution_kernel")
    value_size = len(w["output_kernel"]) // n
    gates = ("log_rate" in w) + (rule is delta_rule)
    key_size = len(S) // (n * (value_size + (rule is linear_attention_rule)))
    mixed = n * (2 * key_size + value_size)
    a = x @ w["kernel"] + w.get("bias", 0)
    z = a[mixed : len(a) - n * gates].reshape(n, -1)
    b = sigmoid(a[len(a) - n * gates :][:n])
    u = a[:mixed]
    if filters is not None:
        inputs = np.concatenate([window.reshape(-1, mixed), u[None]])
        u, window = np.sum(filters * inputs, axis=0), inputs[1:].ravel()
    q, k, v = np.split(f(u), [n * key_size, 2 * n * key_size])
    outputs, states, phi = [], [], FEATURE_MAPS[feature_map]
    for i in range(n):
        own = [part.reshape(n, -1)[i] for part in (q, k, v)]
        own = [phi(own[0]) / np.sqrt(key_size), phi(own[1]), own[2]]
        alpha = 1
        if "log_rate" in w:
            step = np.log1p(np.exp(a[len(a) - n + i] + w["decay_bias"][i]))
            alpha = np.exp(-np.exp(w["log_rate"][i]) * step)
        beta = b[i] if rule is delta_rule else None
        state, o = rule(S.reshape(n, key_size, -1)[i].T, *own, beta, alpha)
        if "gamma" in w:
            o = w["gamma"] * o / np.sqrt(np.mean(o * o) + epsilon)
        outputs.append(o * silu(z[i]) if z.size else o)
        states.append(state.T.ravel())
    return np.concatenate(outputs) @ w["output_kernel"], np.concatenate(states), window
