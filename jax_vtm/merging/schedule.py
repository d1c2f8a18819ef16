"""How many tokens each layer removes and keeps: plain Python ints, known before anything is traced.

Source: the schedules of "Video, How Do Your Tokens Merge?" (Pollard & Wray, 2025), which follow ToMe (Bolya et al.,
2023).
"""

from collections.abc import Sequence

from jax_vtm.errors import UserError


def expand_r(r: int | Sequence[int], num_layers: int, inflection: float = 0.0) -> tuple[int, ...]:
    """Returns how many tokens each layer is asked to remove.

    With an int, layer ``i`` of ``L`` is asked for ``int(low + step * i)`` tokens, where
    ``low = int(r * (1 - inflection))`` and ``step = (2 * r - 2 * low) / (L - 1)``: the layers' mean is ``r`` up to the
    truncation of each entry.

    Args:
        r: Tokens to remove per layer; or one entry per layer, where a shorter list means no reduction in the rest.
        num_layers: Number of layers, L.
        inflection: In [-1, 1]: -1 falls from 2r to 0 over the layers, 0 is constant, 1 rises from 0 to 2r.

    Returns:
        A tuple of L non-negative ints.

    Raises:
        UserError: A negative r, an inflection outside [-1, 1], a list longer than L, or a list with an inflection.
    """
    if not -1 <= inflection <= 1:
        raise UserError(f"inflection is {inflection}; expected a number from -1 (decreasing) to 1 (increasing).")
    if isinstance(r, int):
        if r < 0:
            raise UserError(f"r is {r}; expected 0 (no reduction) or more tokens per layer.")
        if num_layers == 1:
            return (r,)
        low = int(r * (1 - inflection))
        step = (2 * r - 2 * low) / (num_layers - 1)
        return tuple(int(low + step * i) for i in range(num_layers))
    per_layer = tuple(int(entry) for entry in r)
    if any(entry < 0 for entry in per_layer):
        raise UserError(f"r is {list(per_layer)}; every entry must be 0 or more tokens.")
    if inflection:
        raise UserError(f"r is a list, so its entries already say the schedule; inflection={inflection} must be 0.")
    if len(per_layer) > num_layers:
        raise UserError(f"r lists {len(per_layer)} layers, but the model reduces in {num_layers}; shorten the list.")
    return per_layer + (0,) * (num_layers - len(per_layer))


def clamp_r(num_tokens: int, r: int, num_protected: int = 0) -> int:
    """Returns how many tokens a layer really removes: never more than half of the unprotected ones."""
    return max(0, min(r, (num_tokens - num_protected) // 2))


def plan(num_tokens: int, per_layer: Sequence[int], num_protected: int = 0) -> tuple[int, ...]:
    """Returns the static token counts: entering each layer, and last, leaving the final one.

    Args:
        num_tokens: Tokens entering the first layer, protected ones (class, distillation) included.
        per_layer: Tokens each layer is asked to remove (see `expand_r`); more than possible is clamped.
        num_protected: Tokens that are never removed.

    Returns:
        ``len(per_layer) + 1`` ints, for example ``plan(3137, (300,) * 12, 1)`` = (3137, 2837, ..., 110, 56).
    """
    counts = [num_tokens]
    for r in per_layer:
        counts.append(counts[-1] - clamp_r(counts[-1], r, num_protected))
    return tuple(counts)
