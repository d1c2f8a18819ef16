import numpy as np
import pytest

from jax_vtm.benchmarks.inputs import random_params
from jax_vtm.data import Batch, Failure
from jax_vtm.merging import Reduction
from jax_vtm.models import create_model

TINY = {
    "num_classes": {"noun": 5, "verb": 3},
    "image_size": 16,
    "num_frames": 4,
    "patch_size": (2, 4, 4),
    "hidden_size": 16,
    "num_layers": 2,
    "num_heads": 2,
    "mlp_dim": 32,
}


@pytest.fixture(scope="session")
def tiny_model():
    """Builds the same small ViViT with any reduction."""
    return lambda **reduction: create_model("vivit_b_16x2", reduction=Reduction(**reduction), **TINY)


@pytest.fixture(scope="session")
def tiny_params(tiny_model):
    return random_params(tiny_model(mode="none"))


@pytest.fixture(scope="session")
def videos():
    """Cuts n random videos, some of which fail, into batches of a given size."""

    def make(count: int, batch_size: int, num_views: int = 2, failing: tuple[int, ...] = ()) -> list[Batch]:
        rng = np.random.default_rng(0)
        views = rng.integers(0, 256, (64, num_views, 4, 16, 16, 3), np.uint8)
        labels = {"noun": rng.integers(5, size=64, dtype=np.int32), "verb": rng.integers(3, size=64, dtype=np.int32)}
        batches = []
        for start in range(0, count, batch_size):
            indices = np.arange(start, start + batch_size, dtype=np.int32)
            mask = (indices < count) & ~np.isin(indices, failing)
            indices[indices >= count] = -1
            keep = mask.reshape(-1, *[1] * (views.ndim - 1))
            batches.append(
                Batch(
                    frames=np.where(keep, views[indices], np.uint8(0)),
                    mask=mask,
                    labels={head: np.where(mask, values[indices], -1) for head, values in labels.items()},
                    ids=tuple(f"video{i}" if i >= 0 else "" for i in indices),
                    indices=indices,
                    failures=tuple(Failure(f"video{i}", "broken") for i in indices if i in failing),
                )
            )
        return batches

    return make
