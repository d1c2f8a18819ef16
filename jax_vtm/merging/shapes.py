"""Shapes that have to agree: arrays of other shapes would broadcast, or be read out of bounds, to finite nonsense."""

from jax_vtm.errors import UserError


def check_shapes(known: dict[str, int] | None = None, /, **arrays: tuple) -> dict[str, int]:
    """Checks that arrays have the dimensions that they should, and that equal letters are equal lengths.

    Shapes are known while a program is traced, so nothing is checked when it runs.

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
        expected = tuple(lengths.get(letter, length) for letter, length in zip(letters, found, strict=False))
        if len(found) != len(letters) or expected != found:
            said = ", ".join(f"{letter} = {lengths[letter]}" for letter in letters if letter in lengths)
            raise UserError(
                f"{name} has the shape {list(found)}; expected [{', '.join(letters)}]{said and f' with {said}'}."
            )
        lengths |= zip(letters, found, strict=True)
    return lengths
