"""A model whose layers keep the first tokens in place of merging: the same shapes, without what merging costs.

It predicts nothing of use. Its time is the lower bound of a merging model's: what lies between the two is the price of
matching and merging, and what the matching's feature costs.
"""

from collections.abc import Callable
from typing import Any

from flax import linen as nn

from jax_vtm.merging import TokenReduction, TokenState
from jax_vtm.merging.schedule import clamp_r


def keeping_the_first(call: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a function of Flax modules in which every `TokenReduction` is a slice to as many tokens."""

    def sliced(*args: Any, **kwargs: Any) -> Any:
        with nn.intercept_methods(_keep_the_first):
            return call(*args, **kwargs)

    return sliced


def _keep_the_first(call: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
    module = context.module
    if not isinstance(module, TokenReduction) or context.method_name != "__call__" or module.reduction.mode == "none":
        return call(*args, **kwargs)
    x, _, state = args
    kept = x.shape[1] - clamp_r(x.shape[1], module.r, int(module.class_token))
    # Sizes depend on the tokens as real ones do, so that the compiler does not find their logarithm to be zero and
    # leave proportional attention out.
    size = state.size[:, :kept] + 0 * x[:, :kept, 0].astype(state.size.dtype)
    return x[:, :kept], TokenState(size=size)
