"""Fast weights for Keras: "Using Fast Weights to Attend to the Recent Past"."""

import importlib.abc
import sys

__version__ = "0.2.0"

_MODULES = {
    "Config": "fast_weights.config",
    "Control": "fast_weights.layers",
    "ControlCell": "fast_weights.cells",
    "FastWeights": "fast_weights.layers",
    "FastWeightsAttentionCell": "fast_weights.cells",
    "FastWeightsCell": "fast_weights.cells",
    "LayerNormGRU": "fast_weights.layers",
    "LayerNormGRUCell": "fast_weights.cells",
    "LayerNormRNN": "fast_weights.layers",
    "LayerNormRNNCell": "fast_weights.cells",
    "MemoryTrace": "fast_weights.memory_trace",
    "UserError": "fast_weights.errors",
    "build_model": "fast_weights.models",
    "trace_memory": "fast_weights.memory_trace",
    "vanishing_length": "fast_weights.cells",
}

__all__ = sorted(_MODULES)


def __getattr__(name):
    # Imported when asked for: Keras takes seconds to load, and a script's
    # --help or complaint about a flag should not wait for it.
    if name in _MODULES:
        if name not in ("Config", "UserError"):
            _register()
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *_MODULES])


def _register():
    """Tells Keras of every cell and layer, so that `keras.models.load_model` finds them."""
    importlib.import_module("fast_weights.layers")


class _RegistersWithKeras(importlib.abc.MetaPathFinder):
    """Registers as soon as Keras, imported later, is there."""

    def find_spec(self, name, path, target=None):
        """Finds Keras as the other finders do; when it has been loaded, calls `_register`."""
        if name != "keras":
            return None
        # Asking is not yet loading: the finder stays until Keras is there. A package that was
        # imported twice has two, which must not ask each other.
        finders = [one for one in sys.meta_path if type(one).__name__ != type(self).__name__]
        found = (one.find_spec(name, path, target) for one in finders if hasattr(one, "find_spec"))
        spec = next((spec for spec in found if spec is not None), None)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def load_and_register(module):
                load(module)
                if self in sys.meta_path:
                    sys.meta_path.remove(self)
                # Another thread may be importing them, and waits for Keras.
                if "fast_weights.layers" not in sys.modules:
                    _register()

            spec.loader.exec_module = load_and_register
        return spec


if "keras" in sys.modules:
    _register()
else:
    sys.meta_path.insert(0, _RegistersWithKeras())
