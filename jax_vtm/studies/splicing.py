"""Clips in which some tubelets are another video's: which video gives them, which ones, and how they are put in.

Follows the clip splicing of "Video, How Do Your Tokens Merge?" (Pollard & Wray, 2025); there, the last tubelet is never
chosen, here all are alike.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int, Shaped

from jax_vtm.errors import UserError

DONOR_KINDS = ("random", "same_class", "different_class")

NO_DONOR = -1
CLASSES_NAMED = 5

# Keep the two draws of a video apart.
_DONOR, _START = 0, 1


def choose_donors(classes: Sequence[str | None], kind: str, seed: int) -> Int[np.ndarray, " n"]:
    """Chooses for every video another one, never itself.

    Video i gets one of, in their order, all others ("random"), those of its class ("same_class") or those of any other
    class ("different_class"), drawn with equal chances by numpy's `default_rng((seed, i, 0))`.

    Args:
        classes: Class of every video, in words; None for a video that cannot be read, which neither gives nor gets.
        kind: One of `DONOR_KINDS`.
        seed: The same seed gives the same donors.

    Returns:
        The donors' numbers, -1 where the class is None.

    Raises:
        UserError: A video has no donor; its class is named.
    """
    numbers = {name: code for code, name in enumerate(sorted({name for name in classes if name is not None}))}
    codes = np.array([NO_DONOR if name is None else numbers[name] for name in classes], int)
    donors = np.full(len(classes), NO_DONOR)
    lonely = []
    for host in np.flatnonzero(codes != NO_DONOR).tolist():
        allowed = codes != NO_DONOR
        if kind != "random":
            allowed &= (codes == codes[host]) == (kind == "same_class")
        allowed[host] = False
        others = np.flatnonzero(allowed)
        if len(others):
            donors[host] = others[np.random.default_rng((seed, host, _DONOR)).integers(len(others))]
        else:
            lonely.append(classes[host])
    if lonely:
        raise UserError(_without_donor(kind, lonely))
    return donors


def _without_donor(kind: str, lonely: Sequence[str | None]) -> str:
    if kind == "random":
        return "there is a single video that can be read; a splice needs two."
    if kind == "different_class":
        return f"all videos are of the class {lonely[0]}; a splice with another class needs videos of two."
    named = "; ".join(str(name) for name in lonely[:CLASSES_NAMED])
    more = f" and {len(lonely) - CLASSES_NAMED} more" if len(lonely) > CLASSES_NAMED else ""
    return (
        f"a splice with the same class needs two videos of each class, but there is one alone of {named}{more}. Take "
        "other donors, --config.study.donors=random,different_class, or larger classes: --config.study.head names "
        "the head whose labels are the classes."
    )


def choose_starts(count: int, num_tubelets: int, length: int, seed: int) -> Int[np.ndarray, " n"]:
    """Chooses where each video's splice begins: any place at which it fits, with equal chances.

    Video i draws from numpy's `default_rng((seed, i, 1))`.
    """
    room = num_tubelets - length + 1
    return np.array([np.random.default_rng((seed, i, _START)).integers(room) for i in range(count)], int)


def splice(
    host: Shaped[np.ndarray, "B views T H W 3"],
    donor: Shaped[np.ndarray, "B views T H W 3"],
    starts: Int[np.ndarray, " B"],
    length: int,
    depth: int,
) -> Shaped[np.ndarray, "B views T H W 3"]:
    """Puts tubelets of `depth` frames of other clips in the place of the same ones, `length` of them from `starts` on.

    Frames after the last whole tubelet stay the host's.
    """
    frame = np.arange(host.shape[2])
    first = depth * starts[:, None]
    given = (frame >= first) & (frame < first + depth * length)
    return np.where(given[:, None, :, None, None, None], donor, host)
