"""Splices clips: chooses donors and tubelets, and replaces the host's tubelets.

Follows "Video, How Do Your Tokens Merge?" (Pollard & Wray, 2025), which never replaces the last tubelet.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int, Shaped

from jax_vtm.errors import UserError

DONOR_KINDS = ("random", "same_class", "different_class")

NO_DONOR = -1
CLASSES_NAMED = 5

_DONOR, _START = 0, 1  # streams of random numbers


def choose_donors(classes: Sequence[str | None], kind: str, seed: int) -> Int[np.ndarray, " n"]:
    """Chooses a donor for every video, uniformly with numpy's `default_rng((seed, i, 0))` for video i.

    Args:
        classes: Class of every video; None for a video that cannot be read, which is no donor and has none.
        kind: Donors are any other videos ("random"), those of the same class ("same_class") or of other classes
            ("different_class").
        seed: Of the choice.

    Returns:
        The donors' indices, -1 if the class is None.

    Raises:
        UserError: A video has no donor; the message names its class.
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
    """Chooses the first tubelet of each video's splice, uniformly with numpy's `default_rng((seed, i, 1))`."""
    room = num_tubelets - length + 1
    return np.array([np.random.default_rng((seed, i, _START)).integers(room) for i in range(count)], int)


def splice(
    host: Shaped[np.ndarray, "B views T H W 3"],
    donor: Shaped[np.ndarray, "B views T H W 3"],
    starts: Int[np.ndarray, " B"],
    length: int,
    depth: int,
) -> Shaped[np.ndarray, "B views T H W 3"]:
    """Replaces `length` tubelets of `depth` frames, from `starts` on, by the donor's at the same position."""
    frame = np.arange(host.shape[2])
    first = depth * starts[:, None]
    given = (frame >= first) & (frame < first + depth * length)
    return np.where(given[:, None, :, None, None, None], donor, host)
