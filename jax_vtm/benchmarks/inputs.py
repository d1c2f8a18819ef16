"""Weights and clips of a benchmark, each made once however many experiments share them."""

import functools
import json
import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import UInt8

from jax_vtm.benchmarks.experiments import Experiment
from jax_vtm.checkpoints.validate import Model, abstract_params
from jax_vtm.models.compute import narrowed
from jax_vtm.models.patch_embedding import folded


class Inputs:
    """What experiments run on. Weights are random and clips are noise: how long a model takes depends on neither.

    Args:
        device: Where models run.
    """

    def __init__(self, device: Any):
        self.device = device
        self._weights: dict[str, Any] = {}
        self._made: dict[Any, Any] = {}

    def has_weights(self, experiment: Experiment) -> bool:
        """Whether there are weights for a model."""
        return self._key(experiment) in self._weights

    def give_weights(self, experiment: Experiment, params: Any) -> None:
        """Takes float32 weights for all models with these parameters."""
        self._weights[self._key(experiment)] = params

    def params(self, experiment: Experiment) -> Any:
        """Returns a model's weights on the device, in the type that the model computes with."""
        if not self.has_weights(experiment):
            self.give_weights(experiment, random_params(experiment.model))
        weights, dtype = self._weights[self._key(experiment)], experiment.model.dtype
        key = ("params", self._key(experiment), dtype)
        return self._once(key, lambda: jax.device_put(narrowed(weights, dtype), self.device))

    def frames(self, experiment: Experiment) -> UInt8[np.ndarray, "B T H W 3"]:
        """Returns clips as a loader delivers them."""
        shape = (experiment.batch, *experiment.model.input_shape)
        return self._once(("frames", shape), lambda: np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8))

    def on_device(self, experiment: Experiment) -> UInt8[jax.Array, "B T H X"]:
        """Returns the same clips on the device, as an evaluation sends them."""
        frames = self.frames(experiment)
        sent = functools.partial(jax.device_put, frames.reshape(folded(frames.shape)), self.device)
        return self._once(("on_device", frames.shape), sent)

    def _once(self, key: Any, make: Callable[[], Any]) -> Any:
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    @staticmethod
    def _key(experiment: Experiment) -> str:
        return json.dumps(experiment.weights_fields, sort_keys=True, default=str)


def random_params(model: Model, seed: int = 0) -> dict[str, Any]:
    """Draws parameters that keep the size of what flows through the model about as it is in a trained one.

    Kernels have a variance of 1 / inputs, scales are 1, all else is small; nothing is zero. Unlike `init` nothing is
    compiled for it.

    Returns:
        A tree of float32 numpy arrays.
    """
    rng = np.random.default_rng(seed)

    def draw(path: tuple[Any, ...], leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        name = path[-1].key
        if name == "scale":
            return np.ones(leaf.shape, np.float32)
        deviation = 0.02
        if name == "kernel":
            # It sums over all axes but the last; in projections to heads, over the first alone.
            to_heads = len(leaf.shape) == 3 and path[-2].key != "out"
            deviation = 1 / math.sqrt(leaf.shape[0] if to_heads else math.prod(leaf.shape[:-1]))
        return deviation * rng.standard_normal(leaf.shape, np.float32)

    return jax.tree.map_with_path(draw, abstract_params(model))
