"""The equations in float64 NumPy, one example and one step at a time.

Written from the equations, not from the package, which it never imports. A
step takes the weights as a dict of arrays, one input (D,) and the state, and
returns the new state.
"""

import numpy as np


def relu(a):
    return np.maximum(a, 0.0)


def sigmoid(a):
    return 1.0 / (1.0 + np.exp(-a))


def layer_norm(a, gain, bias, epsilon):
    return gain * (a - np.mean(a)) / np.sqrt(np.var(a) + epsilon) + bias


def control_step(w, x, h):
    return relu(x @ w["kernel"] + w["bias"] + h @ w["recurrent_kernel"])


def rnn_ln_step(w, x, h, epsilon=1e-5):
    return layer_norm(control_step(w, x, h), w["gamma"], w["beta"], epsilon)


def fast_weights_step(
    w, x, h, A, inner_steps, decay_rate, fast_learning_rate, epsilon=1e-5, recurrence="original"
):
    """Returns h_t and A_t, the fast weights that the step read."""
    z = x @ w["kernel"] + w["bias"]
    h_0 = relu(z + h @ w["recurrent_kernel"])
    if recurrence == "paper":
        # Equation 1, one step late: A(t - 1) from the final state of step t - 1.
        A = decay_rate * A + fast_learning_rate * np.outer(h, h)
        slow = z + h @ w["recurrent_kernel"]
    else:
        A = decay_rate * A + fast_learning_rate * np.outer(h_0, h_0)
        slow = z + h_0 @ w["recurrent_kernel"]
    h_s = h_0
    for _ in range(inner_steps):
        h_s = relu(layer_norm(slow + h_s @ A, w["gamma"], w["beta"], epsilon))
    return h_s, A


def gru_ln_step(w, x, h, gates, epsilon=1e-5):
    size = len(h)
    kernel_r, kernel_c = w["kernel"][:, :size], w["kernel"][:, -size:]
    recurrent_r, recurrent_c = w["recurrent_kernel"][:, :size], w["recurrent_kernel"][:, -size:]
    bias_r, bias_c = w["bias"][:size], w["bias"][-size:]
    r_normal = layer_norm(
        x @ kernel_r + h @ recurrent_r + bias_r, w["reset_gamma"], w["reset_beta"], epsilon
    )
    if gates == "original":
        u_before = r_normal
    else:
        middle = slice(size, 2 * size)
        u_before = (
            x @ w["kernel"][:, middle] + h @ w["recurrent_kernel"][:, middle] + w["bias"][middle]
        )
    u = sigmoid(layer_norm(u_before, w["update_gamma"], w["update_beta"], epsilon))
    c = np.tanh(x @ kernel_c + (sigmoid(r_normal) * h) @ recurrent_c + bias_c)
    return u * h + (1 - u) * c
