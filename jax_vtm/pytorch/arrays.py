"""A merging model for who knows numpy and no PyTorch: arrays in, arrays out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
import transformers  # pyright: ignore[reportMissingImports]
from jaxtyping import Float, Int

from jax_vtm.pytorch.merging_model import MergingModel


@dataclasses.dataclass(frozen=True)
class StepArrays:
    """One matching and the scores that it was decided by; fields as of `merging.Matching`."""

    scores: Float[np.ndarray, "B S T"]
    survivors: Int[np.ndarray, "B K"]
    removed: Int[np.ndarray, "B R"]
    target: Int[np.ndarray, "B R"]
    score: Float[np.ndarray, "B R"]


@dataclasses.dataclass(frozen=True)
class TracedArrays:
    """`merging_model.Traced` as numpy, with one step at most in a layer; None where nothing was removed."""

    embedding: Float[np.ndarray, "B N C"]
    blocks: tuple[Float[np.ndarray, "B K C"], ...]
    steps: tuple[StepArrays | None, ...]
    logits: Float[np.ndarray, "B classes"]


def trace(
    model: MergingModel, video: Float[np.ndarray, "B T H W 3"], scores: Sequence[np.ndarray | None] | None = None
) -> TracedArrays:
    """Runs `model.traced`; a repeated layer's last step is the one that is returned."""
    given = None if scores is None else [None if one is None else torch.from_numpy(one) for one in scores]
    with torch.inference_mode():
        found = model.traced(torch.from_numpy(video), given)
    steps = []
    for layer in found.steps:
        last = layer[-1] if layer else None
        fields = ("survivors", "removed", "target", "score")
        arrays = {} if last is None else {name: getattr(last.matching, name).numpy() for name in fields}
        steps.append(None if last is None else StepArrays(scores=last.scores.numpy(), **arrays))
    blocks = tuple(block.numpy() for block in found.blocks)
    return TracedArrays(found.embedding.numpy(), blocks, tuple(steps), found.logits.numpy())


def classifier(model: MergingModel, video: Float[np.ndarray, "B T H W 3"]) -> Callable[[], np.ndarray]:
    """Returns a function that classifies these clips, for timing: the video is converted before."""
    tensor = torch.from_numpy(video)

    def classify() -> np.ndarray:
        with torch.inference_mode():
            return model(tensor).numpy()

    return classify


def use_threads(count: int) -> None:
    """Lets PyTorch use so many threads in this process; 0 leaves them as they are."""
    if count:
        torch.set_num_threads(count)


def environment() -> dict[str, str | int]:
    """Versions, and the threads that PyTorch uses."""
    return {"torch": torch.__version__, "transformers": transformers.__version__, "threads": torch.get_num_threads()}
