"""The recorded function-level cases, and matching written a second time, token by token, in numpy."""

import functools
import json
from pathlib import Path

import numpy as np

TORCH = Path(__file__).parents[1] / "golden" / "torch"
TIGHT = {"rtol": 1e-6, "atol": 1e-6}


@functools.cache
def cases(*functions: str) -> tuple[dict, ...]:
    """The manifest's entries of these functions that recorded arrays."""
    manifest = json.loads((TORCH / "manifest.json").read_text())
    return tuple(case for case in manifest["merge_ops"] if case["function"] in functions and "tokens_in" in case)


@functools.cache
def arrays(case: str) -> dict[str, np.ndarray]:
    """The arrays of one case."""
    with np.load(TORCH / "merge_ops.npz") as file:
        return {name.split("/", 1)[1]: file[name] for name in file.files if name.startswith(f"{case}/")}


def match(scores: np.ndarray, r: int, *, class_token: bool = False, distill_token: bool = False):
    """Decides one clip; returns (survivors, removed, target) as input positions, input positions, output positions."""
    num_sources, num_destinations = scores.shape
    num_tokens = num_sources + num_destinations
    r = max(0, min(r, (num_tokens - class_token - distill_token) // 2))
    if r == 0:
        return list(range(num_tokens)), [], []
    best = []
    for source in range(num_sources):
        allowed = range(1 if distill_token else 0, num_destinations)
        if class_token and source == 0:
            best.append((-np.inf, 0))
            continue
        choice = max(allowed, key=lambda destination, row=scores[source]: (row[destination], -destination))
        best.append((scores[source][choice], choice))
    order = sorted(range(num_sources), key=lambda source: (-best[source][0], source))
    removed, kept = order[:r], order[r:]
    if class_token:
        kept = sorted(kept)
    sources, destinations = [2 * k for k in kept], [2 * d + 1 for d in range(num_destinations)]
    if distill_token:
        survivors = [sources[0], destinations[0], *sources[1:], *destinations[1:]]
    else:
        survivors = sources + destinations
    targets = [survivors.index(2 * best[source][1] + 1) for source in removed]
    return survivors, [2 * source for source in removed], targets


def groups(num_tokens: int, survivors, removed, targets) -> list[int]:
    """Output position of every input token, -1 for those that the matching leaves out."""
    of = [-1] * num_tokens
    for output, token in enumerate(survivors):
        of[token] = output
    for token, output in zip(removed, targets, strict=True):
        of[token] = output
    return of
