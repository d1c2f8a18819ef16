"""Tables of positions for other numbers of tokens, as Scenic's `init_from_train_state` makes them.

Source: scenic/projects/vivit/model_utils.py. Where Scenic goes on with another meaning, here is an error: a square made
of time and space, or a table of the wrong length.
"""

import math

import numpy as np
from jaxtyping import Float
from scipy.ndimage import zoom

from jax_vtm.errors import UserError

METHODS = ("tile", "resize", "resize_tile")


def zoomed(table: Float[np.ndarray, "*grid C"], grid: tuple[int, ...]) -> Float[np.ndarray, "*other C"]:
    """Interpolates linearly between the first and the last place of every axis, which stay what they are."""
    factors = [new / old for new, old in zip(grid, table.shape, strict=False)]
    return table if factors == [1] * len(factors) else np.asarray(zoom(table, (*factors, 1), order=1))


def fitted_positions(
    tokens: Float[np.ndarray, "n C"], grid: tuple[int, int, int], method: str, *, is_image: bool, where: str
) -> tuple[Float[np.ndarray, "m C"], str]:
    """Makes a table of positions for a grid (time, height, width), class token aside.

    Args:
        tokens: Positions of the source: of an image's square grid, of one time index of a factorised encoder, or of a
            whole clip, time first.
        grid: The model's; with one time index where the table is of space alone.
        method: "tile" repeats along time, "resize" interpolates, "resize_tile" does the one in space and the other in
            time.
        is_image: Whether the source knows no time.
        where: What messages call the table.

    Returns:
        The table, and what was done in words.

    Raises:
        UserError: The numbers do not allow it, or would mean something else than they say.
    """
    if method not in METHODS:
        raise UserError(f"train.init_positions is {method!r}; known are {', '.join(METHODS)}.")
    count, width = tokens.shape
    frames, *space = grid
    per_frame = math.prod(space)
    if count == math.prod(grid) and not (is_image and frames > 1):
        return tokens, "taken"
    side = math.isqrt(count)
    if is_image or frames == 1:
        if method != "tile":
            if side**2 != count:
                raise UserError(
                    f"{where}: the file has {count} positions, which are no square; they cannot be resized."
                )
            if frames > 1 and method == "resize":
                raise UserError(
                    f"{where}: an image's positions have no time to be resized along. --config.train.init_positions="
                    "resize_tile resizes them in space, and repeats them in time."
                )
            tokens = zoomed(tokens.reshape(side, side, width), tuple(space)).reshape(-1, width)
        if len(tokens) != per_frame:
            raise UserError(
                f"{where}: the file has {count} positions and the model {per_frame} at each time, {space[0]} x "
                f"{space[1]}; they cannot be repeated to these. --config.train.init_positions=resize_tile resizes them."
            )
        done = f"resized from {side} x {side} to {space[0]} x {space[1]}" if len(tokens) != count else ""
        repeated = f"repeated {frames} times" if frames > 1 else ""
        return np.tile(tokens, (frames, 1)), ", ".join(filter(None, (done, repeated))) or "taken"
    # Of a clip: with the model's pixels and other frames, or with its frames and other, square pixels.
    times = count // per_frame if count % per_frame == 0 else 0
    square = math.isqrt(count // frames) if count % frames == 0 else 0
    square = square if square**2 * frames == count else 0
    if bool(times) == bool(square):
        raise UserError(
            f"{where}: the file has {count} positions, the model {frames} x {space[0]} x {space[1]}; it cannot be told "
            "how many of the file's are along time. Change frames or pixels, not both."
        )
    if square and method == "resize":
        resized = zoomed(tokens.reshape(frames, square, square, width), grid)
        return resized.reshape(-1, width), f"resized from {square} x {square} to {space[0]} x {space[1]} at each time"
    if times and method == "resize":
        return zoomed(tokens.reshape(times, *space, width), grid).reshape(-1, width), f"resized from {times} times"
    if times and method == "tile" and frames % times == 0:
        return np.tile(tokens, (frames // times, 1)), f"repeated {frames // times} times"
    raise UserError(
        f"{where}: the file's {count} positions cannot become {frames} x {space[0]} x {space[1]} by {method!r}. "
        "--config.train.init_positions=resize interpolates between them."
    )
