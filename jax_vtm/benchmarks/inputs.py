"""Weights and clips of a benchmark, each made once however many settings share them."""

import json
from typing import Any

import jax
import numpy as np
from jaxtyping import Float32, UInt8

from jax_vtm.benchmarks.grid import OUR_WAYS, Setting
from jax_vtm.benchmarks.weights import random_params
from jax_vtm.data.spatial import HALF
from jax_vtm.evaluation.normalising import normaliser
from jax_vtm.models.narrowing import narrowed


class Inputs:
    """What settings run on. Weights are random and clips are noise: how long a model takes depends on neither.

    Args:
        device: Where models run.
    """

    def __init__(self, device: Any):
        self.device = device
        self._params: dict[str, Any] = {}
        self._sent: dict[tuple[str, str], Any] = {}
        self._clips: dict[tuple[int, ...], np.ndarray] = {}
        self._videos: dict[tuple[int, ...], jax.Array] = {}

    def params(self, setting: Setting) -> Any:
        """Returns a model's weights, on the device; models with the same parameters have the same.

        As in an evaluation, they are in the type that the model computes with.
        """
        if not self.has_params(setting):
            self.give_params(setting, random_params(setting.model))
        key = (self._key(setting), setting.fields["dtype"])
        if key not in self._sent:
            params = narrowed(self._params[self._key(setting)], setting.model.dtype)
            self._sent[key] = jax.device_put(params, self.device)
        return self._sent[key]

    def has_params(self, setting: Setting) -> bool:
        """Whether there are weights for a model."""
        return self._key(setting) in self._params

    def give_params(self, setting: Setting, params: Any) -> None:
        """Takes float32 weights for all models with these parameters."""
        self._params[self._key(setting)] = params

    def frames(self, setting: Setting) -> UInt8[np.ndarray, "B T H W 3"]:
        """Returns clips as a loader delivers them."""
        shape = (setting.batch, *setting.model.input_shape)
        if shape not in self._clips:
            self._clips[shape] = np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8)
        return self._clips[shape]

    def video(self, setting: Setting) -> Float32[jax.Array, "B T H W 3"]:
        """Returns the same clips on the device, as models take them."""
        frames = self.frames(setting)
        if frames.shape not in self._videos:
            sent = jax.device_put(frames, self.device)
            self._videos[frames.shape] = normaliser(HALF, HALF)(sent)
        return self._videos[frames.shape]

    @staticmethod
    def _key(setting: Setting) -> str:
        fields = {key: value for key, value in setting.fields.items() if key not in (*OUR_WAYS, "dtype")}
        return json.dumps(fields, sort_keys=True, default=str)
