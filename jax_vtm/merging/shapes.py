"""Shapes that have to agree: arrays of other shapes would broadcast, or be read out of bounds, to finite nonsense."""

from jax_vtm.errors import UserError


def check_shapes(known: dict[str, int] | None = None, /, **arrays: tuple) -> dict[str, int]:
    """Checks that arrays have the dimensions that they should, and that equal letters are equal lengths.

    Args:
        known: Lengths that are given, by letter.
        **arrays: By name, an array and its dimensions, such as `x=(x, "B N C")`.

    Returns:
        The length of every letter.

    Raises:
        UserError: An array has another shape; the message gives what was expected and found.
    """
    lengths = dict(known or {})
    for name, (array, dimensions) in arrays.items():
        letters, found = dimensions.split(), tuple(array.shape)
        fits = len(found) == len(letters) and all(
            lengths.get(letter, length) == length for letter, length in zip(letters, found, strict=True)
        )
        if not fits:
            said = ", ".join(f"{letter} = {lengths[letter]}" for letter in letters if letter in lengths)
            raise UserError(
                f"{name} has the shape {list(found)}; expected [{', '.join(letters)}]{said and f' with {said}'}."
            )
        lengths |= zip(letters, found, strict=True)
    return lengths


def check_bipartite(scores, num_tokens: int | None = None) -> None:
    """Checks scores [B, S, T] of N tokens, S = ceil(N / 2) at even and T = floor(N / 2) at odd positions.

    Raises:
        UserError: They are of another number of tokens or, if none is given, of none that there can be.
    """
    found = check_shapes(scores=(scores, "B S T"))
    total = found["S"] + found["T"] if num_tokens is None else num_tokens
    check_shapes({"S": (total + 1) // 2, "T": total // 2}, scores=(scores, "B S T"))
