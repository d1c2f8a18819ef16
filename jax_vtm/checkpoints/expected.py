"""What a model asks of a checkpoint."""

from __future__ import annotations

from typing import Any, Protocol

import jax
import jax.numpy as jnp
from flax.core import unfreeze


class Model(Protocol):
    """What this package uses of a model; the models of `jax_vtm.models` are Flax modules that have it."""

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        """Frames, height, width, channels of one clip."""
        ...

    @property
    def heads(self) -> tuple[tuple[str, int], ...]:
        """Name and number of classes of each head, in the order of the output's kernel."""
        ...

    @property
    def init(self) -> Any:
        """Flax's `init(key, video)`."""
        ...


def expected_params(model: Model) -> dict[str, Any]:
    """Computes names, shapes and dtypes of a model's parameters without allocating any.

    Args:
        model: A model whose `init` takes a float video [1, T, H, W, 3].

    Returns:
        Nested dict with `jax.ShapeDtypeStruct` leaves.
    """
    video_shape = (1, *model.input_shape)
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros(video_shape, jnp.float32)))
    return unfreeze(variables["params"])
