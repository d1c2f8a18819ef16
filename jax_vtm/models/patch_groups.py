"""From what a model traced to the groups of the patches that one sees: without class tokens, on their grid."""

import dataclasses

import numpy as np
from jaxtyping import Float, Int32, Int64, UInt8

from jax_vtm.merging import TokenState
from jax_vtm.models.motionformer import Motionformer
from jax_vtm.models.timesformer import TimeSformer
from jax_vtm.models.trace import FactorisedTrace, Trace
from jax_vtm.models.transformer import VideoTransformer
from jax_vtm.models.video import ScenicClassifier, VideoClassifier, sampled_frames
from jax_vtm.models.vivit import FactorisedEncoderViViT, ViViT


@dataclasses.dataclass(frozen=True)
class PatchGroups:
    """The groups of a clip's patches after every layer; entry 0 is before the first, where each is its own group.

    Attributes:
        membership: The token that each patch has become part of, counted over the whole clip with class tokens among
            them; -1 if discarded.
        numbers: The same, but of models that merge within a time step counted within the step and without the class
            token. The PyTorch reference's pictures choose colours by these.
        sizes: Initial tokens that every token stands for, by its number in `membership`, class tokens among them. In
            the drop modes all are one.
        within_steps: Whether merging happens in each time step of the grid by itself.
    """

    membership: Int32[np.ndarray, "layers t h w"]
    numbers: Int32[np.ndarray, "layers t h w"]
    sizes: tuple[Float[np.ndarray, " _"], ...]
    within_steps: bool

    @property
    def grid(self) -> tuple[int, int, int]:
        """Patches along (time, height, width)."""
        _, time, height, width = self.membership.shape
        return (time, height, width)

    @property
    def num_layers(self) -> int:
        """Layers of the model."""
        return len(self.membership) - 1


def merges_within_steps(model: VideoClassifier) -> bool:
    """Whether a model's merging happens in each time step of its grid by itself."""
    if isinstance(model, Motionformer):
        # Its reference layout merges within sets of tokens that are spread over all time steps.
        return model.reduction.layout == "fixed"
    return isinstance(model, FactorisedEncoderViViT | TimeSformer)


def num_merging_layers(model: VideoClassifier) -> int:
    """Layers of the encoder in which patches merge."""
    if isinstance(model, FactorisedEncoderViViT):
        return model.spatial_layers
    assert isinstance(model, ViViT | VideoTransformer)
    return model.num_layers


def patch_groups(model: VideoClassifier, trace: Trace | FactorisedTrace, clip: int = 0) -> PatchGroups:
    """Reads the groups of one clip from a trace.

    Args:
        model: The model that traced.
        trace: What it returned.
        clip: Which of the trace's clips.
    """
    by_step = isinstance(trace, FactorisedTrace)
    states = [_of_clip(state, clip) for state in (trace.spatial if by_step else trace).layers]
    states.insert(0, _before_merging(*states[0]))
    steps = np.arange(model.grid[0])[:, None]
    class_tokens = int(model.has_class_token)
    within_steps = merges_within_steps(model)
    memberships, numbers = [], []
    for membership, size in states:
        patches = membership[..., class_tokens:].reshape(len(steps), -1)
        whole = local = patches
        if by_step:
            whole = patches + steps * size.shape[-1]
        elif within_steps:
            local = patches - class_tokens - steps * ((size.shape[-1] - class_tokens) // len(steps))
        memberships.append(np.where(patches < 0, -1, whole).reshape(model.grid))
        numbers.append(np.where(patches < 0, -1, local).reshape(model.grid))
    return PatchGroups(
        membership=np.stack(memberships).astype(np.int32),
        numbers=np.stack(numbers).astype(np.int32),
        sizes=tuple(size.reshape(-1) for _, size in states),
        within_steps=within_steps,
    )


def _of_clip(state: TokenState, clip: int) -> tuple[np.ndarray, np.ndarray]:
    assert state.membership is not None
    return np.asarray(state.membership)[clip], np.asarray(state.size)[clip]


def _before_merging(membership: np.ndarray, size: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Membership and sizes of the same tokens while each stands for itself."""
    return np.broadcast_to(np.arange(membership.shape[-1]), membership.shape), np.ones(membership.shape, size.dtype)


def seen_frames(model: VideoClassifier) -> Int64[np.ndarray, " n"]:
    """Returns the numbers of the frames of a clip that become patches: all, unless the model samples or a rest is left.

    Their order is that of the grid: the same number of frames to each time step.
    """
    frames = np.arange(model.num_frames)
    if isinstance(model, ScenicClassifier) and model.num_sampled_frames is not None:
        frames = sampled_frames(model.num_frames, model.num_sampled_frames).astype(np.int64)
    return frames[: model.grid[0] * model.patch_size[0]]


def seen_pixels(model: VideoClassifier, frames: UInt8[np.ndarray, "T H W 3"]) -> UInt8[np.ndarray, "n h w 3"]:
    """Cuts a clip to what becomes patches: without frames, rows and columns that do not fill one."""
    _, rows, columns = model.grid
    _, height, width = model.patch_size
    return frames[seen_frames(model), : rows * height, : columns * width]
