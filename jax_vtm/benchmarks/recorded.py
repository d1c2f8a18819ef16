"""Small models of all four families with logits and merging decisions that the paper's PyTorch code computed.

Weights and clips are drawn again, as PyTorch drew them: its generator gives words of 32 bits by MT19937 and makes
standard normal numbers of sixteen of them at a time by Box and Muller's method (`normal_fill` in
aten/src/ATen/native/cpu/DistributionTemplates.h).
"""

import dataclasses
import functools
import importlib.resources
import json
import math
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Int

from jax_vtm.checkpoints import from_torch_state_dict
from jax_vtm.merging import Reduction, no_reduction
from jax_vtm.models import VideoClassifier, create_model


@dataclasses.dataclass(frozen=True)
class RecordedModel:
    """One of them.

    Attributes:
        family: Its name.
        described: What the file has of it.
    """

    family: str
    described: dict[str, Any]

    def model(self, merged: bool = True, **fields: Any) -> VideoClassifier:
        """Its architecture and what it merges, if anything, with any other fields of how it is computed."""
        one = self.described
        sizes = {key: tuple(value) if isinstance(value, list) else value for key, value in one["fields"].items()}
        reduction = Reduction(**one["reduction"]) if merged else no_reduction()
        return create_model(one["preset"], reduction=reduction, **sizes, **fields)

    @functools.cached_property
    def params(self) -> dict[str, Any]:
        """Its float32 weights."""
        tensors, described = {}, self.described["tensors"]
        drawn = {name: one for name, one in described.items() if isinstance(one, dict)}
        numbers = normal_numbers(self.described["seed"], sum(math.prod(one["shape"]) for one in drawn.values()))
        for name, one in described.items():
            if name in drawn:
                own, numbers = np.split(numbers, [math.prod(one["shape"])])
                tensors[name] = (one.get("location", 0) + one["scale"] * own.astype(np.float32)).reshape(one["shape"])
            else:
                tensors[name] = np.array(one)
        tensors = {name: tensor.astype(np.float32) for name, tensor in tensors.items()}
        return from_torch_state_dict(tensors, self.model())["params"]

    @functools.cached_property
    def video(self) -> Float32[np.ndarray, "B T H W 3"]:
        """Its clips, normalised."""
        one = self.described["video"]
        drawn = normal_numbers(one["seed"], math.prod(one["shape"])).astype(np.float32).reshape(one["shape"])
        return np.ascontiguousarray(drawn.transpose(0, 2, 3, 4, 1))

    def logits(self, merged: bool = True) -> Float[np.ndarray, "B K"]:
        """What was recorded."""
        return np.array(self.described["logits" if merged else "unmerged_logits"])

    @property
    def memberships(self) -> Int[np.ndarray, "L B N"]:
        """The group in which each initial token was recorded to be after each layer."""
        return np.array(self.described["memberships"])


def recorded_models() -> list[RecordedModel]:
    """Reads what the package has."""
    text = (importlib.resources.files("jax_vtm.benchmarks") / "recorded_models.json").read_text()
    return [RecordedModel(family, one) for family, one in json.loads(text).items()]


def normal_numbers(seed: int, count: int) -> Float[np.ndarray, " count"]:
    """Draws what `torch.randn` gives on a CPU after `torch.manual_seed`, a multiple of 16 numbers, to rounding."""
    # The sequence of an older interface of NumPy's, which is frozen for good.
    words = np.frombuffer(np.random.RandomState(seed).bytes(4 * count), "<u4")
    first, second = np.moveaxis((words % 2**24).reshape(-1, 2, 8) / 2**24, 1, 0)
    radius, angle = np.sqrt(-2 * np.log1p(-first)), 2 * np.pi * second
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(-1)
