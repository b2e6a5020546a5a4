"""Functions with a gradient of their own, on every backend."""

from keras import ops


def with_gradient(forward, backward, tensors):
    """Returns the result of a function, with a custom gradient.

    Args:
        forward: takes the tensors. Returns its result, a tensor, and whatever `backward` needs. It
            must not capture other tensors that need a gradient.
        backward: takes the tuple of tensors, what `forward` kept, and the gradient of the result.
            Returns the gradient of each tensor; `None` stands for zeros.
        tensors: the arguments. Any of them may be `None`.
    """

    def parts_of(arguments):
        given = iter(arguments)
        return tuple(None if one is None else next(given) for one in tensors)

    def gradients(parts, kept, above):
        return tuple(
            ops.zeros_like(tensor) if gradient is None else gradient
            for tensor, gradient in zip(parts, backward(parts, kept, above), strict=True)
            if tensor is not None
        )

    @ops.custom_gradient
    def differentiable(*arguments):
        parts = parts_of(arguments)
        result, kept = forward(*parts)

        def gradient(*arguments, upstream=None):
            if upstream is None:
                return gradients(parts, kept, *arguments)
            # PyTorch also passes the arguments. It does not record the forward pass of a custom
            # gradient, so for second derivatives, repeat the forward pass from the arguments.
            if not _is_recording():
                return gradients(parts, kept, upstream)
            recorded = parts_of(arguments)
            return gradients(recorded, forward(*recorded)[1], upstream)

        return result, gradient

    return differentiable(*(one for one in tensors if one is not None))


def _is_recording():
    """Returns whether PyTorch records operations in order to differentiate them."""
    import torch

    return torch.is_grad_enabled()
