"""What the two models that think in frames share: positions of space and time, and the trace of a whole clip."""

import functools

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from jax_vtm.errors import UserError
from jax_vtm.merging import TokenState
from jax_vtm.models.trace import Trace

RESIZE_METHODS = ("nearest", "linear", "cubic")


class SpaceTimePositions(nn.Module):
    """Adds one learned vector per place and one per time to the patches; prepares the class token.

    Parameters: cls [1, 1, C]; space [1, 1 + h * w, C], whose first entry is the class token's; time [1, t, C].

    Attributes:
        stored_grid: Places (t, h, w) for which the parameters are stored; None for those of the input. Where the
            input has others, the vectors are interpolated, time apart from space.
        method: How: "nearest", "linear" or "cubic" (see `resize_matrix`).
    """

    stored_grid: tuple[int, int, int] | None = None
    method: str = "nearest"

    @nn.compact
    def __call__(self, x: Float[Array, "B t h w C"]) -> tuple[Float[Array, "B 1 C"], Float[Array, "B t p C"]]:
        """Returns the class token and the patches of each frame, in row-major order."""
        batch, frames, height, width, channels = x.shape
        stored = (frames, height, width) if self.stored_grid is None else self.stored_grid
        init = nn.initializers.truncated_normal(0.02)
        cls = self.param("cls", init, (1, 1, channels))
        space = self.param("space", init, (1, 1 + stored[1] * stored[2], channels))
        # Zero, so that a model that starts from a picture model's weights starts as that model.
        time = self.param("time", nn.initializers.zeros, (1, stored[0], channels))

        of_cls, of_places, of_times = space[:, :1], space[0, 1:].reshape(*stored[1:], channels), time[0]
        if stored != (frames, height, width):
            to_rows = resize_matrix(stored[1], height, self.method)
            to_columns = resize_matrix(stored[2], width, self.method)
            of_places = jnp.einsum("hy,wx,yxc->hwc", to_rows, to_columns, of_places)
            of_times = resize_matrix(stored[0], frames, self.method) @ of_times
        x = x + of_places + of_times[:, None, None]
        cls = jnp.broadcast_to(cls + of_cls, (batch, 1, channels))
        return cls, x.reshape(batch, frames, height * width, channels)


@functools.cache
def resize_matrix(num_in: int, num_out: int, method: str) -> Float[np.ndarray, "out in"]:
    """Returns the weights with which a line of values is resized, by the rules of PyTorch's `interpolate`.

    Pixel centres are aligned (`align_corners=False`), without a low-pass filter for shrinking; at the ends the last
    value is repeated. The cubic kernel has a = -0.75.

    Args:
        num_in: Values there are.
        num_out: Values wanted.
        method: "nearest", "linear" or "cubic".

    Raises:
        UserError: An unknown method.
    """
    if method not in RESIZE_METHODS:
        raise UserError(f"method is {method!r}; known are {', '.join(RESIZE_METHODS)}.")
    weights = np.zeros((num_out, num_in))
    if method == "nearest":
        # In float32, as there: where the product falls just short of a whole number, that decides.
        step = np.float32(num_in) / np.float32(num_out)
        nearest = np.minimum(np.floor(np.arange(num_out, dtype=np.float32) * step), num_in - 1)
        weights[np.arange(num_out), nearest.astype(int)] = 1
        return weights.astype(np.float32)
    centre = (np.arange(num_out) + 0.5) * num_in / num_out - 0.5
    first = np.floor(centre).astype(int)
    for tap in range(-1, 3):
        distance = np.abs(centre - (first + tap))
        share = np.maximum(1 - distance, 0) if method == "linear" else _cubic(distance)
        np.add.at(weights, (np.arange(num_out), np.clip(first + tap, 0, num_in - 1)), share)
    return weights.astype(np.float32)


def _cubic(distance: np.ndarray, a: float = -0.75) -> np.ndarray:
    near = (a + 2) * distance**3 - (a + 3) * distance**2 + 1
    far = a * distance**3 - 5 * a * distance**2 + 8 * a * distance - 4 * a
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0))


def clip_trace(states: list[TokenState], num_tokens: int, num_groups: int, *, interleaved: bool = False) -> Trace:
    """Puts the groups in which tokens were merged together again: one numbering for the clip, as in the other models.

    Args:
        states: After every layer, of the groups by themselves, [B * G, tokens of a group].
        num_tokens: Patch tokens of the clip before the first layer.
        num_groups: G.
        interleaved: Token i of the clip belongs to group i mod G; otherwise the groups follow each other.

    Returns:
        The trace of tokens [B, 1 + N], token 0 being the class token.
    """
    return Trace(1 + num_tokens, tuple(_clip_state(state, num_groups, interleaved) for state in states))


def _clip_state(state: TokenState, num_groups: int, interleaved: bool) -> TokenState:
    kept = state.size.shape[-1]

    def clip(values, of_class):
        values = values.reshape(-1, num_groups, values.shape[-1])
        values = values.swapaxes(1, 2) if interleaved else values
        values = values.reshape(values.shape[0], -1)
        return jnp.pad(values, ((0, 0), (1, 0)), constant_values=of_class)

    size = clip(state.size, 1)
    if state.membership is None:
        return TokenState(size)
    group = jnp.arange(state.membership.shape[0])[:, None] % num_groups
    place = state.membership * num_groups + group if interleaved else group * kept + state.membership
    membership = jnp.where(state.membership < 0, state.membership, 1 + place.astype(jnp.int32))
    return TokenState(size, clip(membership, 0))
