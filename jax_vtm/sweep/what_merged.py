"""What became one token where one layer alone reduces: counted on a few clips, and painted over one of them."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, cast

import jax
import numpy as np
from jaxtyping import Int, UInt8

from jax_vtm.data import ClipProtocol, VideoSource, load_views
from jax_vtm.evaluation import Candidate
from jax_vtm.evaluation.mixing import Mixing, mixing
from jax_vtm.files import atomic_write
from jax_vtm.models import FactorisedTrace, Trace, groups_per_layer, seen_pixels
from jax_vtm.reports import Picture, draw_groups
from jax_vtm.reports.merged_tokens import sheet_of, spread_frames
from jax_vtm.sweep.grid import one_layer

# Counted on the first views of so many videos at most, spread over those that could be read.
CLIPS = 16

_FRAMES = "frames"


def trace_one_layer(
    candidates: Sequence[Candidate],
    source: VideoSource,
    protocol: ClipProtocol,
    indices: Int[np.ndarray, " n"],
    pictures: pathlib.Path,
) -> dict[str, dict[str, Any]]:
    """Looks at what those candidates merge in which one layer alone reduces, after that layer.

    Args:
        candidates: Others among them are left out.
        source: The videos.
        protocol: How they become clips.
        indices: The videos that could be read.
        pictures: Where frames of one clip are put, and what each candidate makes of them; `layers_picture` reads it.

    Returns:
        By the candidates' names: layer, times, r, and over `clips` clips the counts of `merging.Mixing`, its parts
        being the time indices of the token grid; `tokens` and `groups` are a clip's patch tokens before and after.
    """
    alone = [(candidate, one_layer(candidate.model.reduction)) for candidate in candidates]
    alone = [(candidate, place) for candidate, place in alone if place is not None]
    if not alone:
        return {}
    wanted = sorted({int(indices[(2 * k + 1) * len(indices) // (2 * CLIPS)]) for k in range(CLIPS)})
    clips = np.stack([load_views(source[index], protocol)[0] for index in wanted])
    frames = seen_pixels(alone[0][0].model, protocol.pictures(clips[0]))
    painted: dict[str, UInt8[np.ndarray, "k H W 3"]] = {_FRAMES: spread_frames(frames)}
    found = {}
    for candidate, (layer, times) in alone:
        model = candidate.model
        groups, counted = _traced(candidate, layer, clips)
        tokens, reduction = int(np.prod(model.grid)), model.reduction
        assert not isinstance(reduction.r, int)
        found[candidate.name] = {
            "layer": layer,
            "times": times,
            "r": reduction.r[layer],
            "clips": len(clips),
            "tokens": tokens,
            "groups": float(np.mean([len(np.unique(row[row >= 0])) for row in groups])),
            **{name: float(np.sum(values)) for name, values in vars(counted).items()},
        }
        painted[candidate.name] = spread_frames(draw_groups(frames, groups[0], model.grid, model.patch_size))
    with atomic_write(pictures) as file:
        np.savez_compressed(file, **cast(Any, painted))
    return found


def _traced(candidate: Candidate, layer: int, clips: np.ndarray) -> tuple[Int[np.ndarray, "n N"], Mixing]:
    """Returns the groups after a layer, and what of them is of several times."""
    model = candidate.model
    times, *places = model.grid
    per_time = int(np.prod(places))

    @jax.jit
    def traced(params, video):
        rngs = {"reduction": jax.random.key(0)}
        outcome = model.apply({"params": params}, video, trace=True, rngs=rngs)
        _, trace = cast(tuple[Any, Trace | FactorisedTrace], outcome)
        groups, count = groups_per_layer(trace, class_token=model.has_class_token)[layer]
        part = np.broadcast_to(np.arange(times * per_time) // per_time, groups.shape)
        return groups, mixing(groups, jax.numpy.asarray(part), num_groups=count, part_sizes=[per_time] * times)

    # One by one, since a traced clip may be as large as memory allows.
    parts = [jax.device_get(traced(candidate.params, clip[None])) for clip in clips]
    return np.concatenate([groups for groups, _ in parts]), jax.tree.map(
        lambda *leaves: np.concatenate(leaves), *(counted for _, counted in parts)
    )


def layers_picture(found: Mapping[str, Mapping[str, Any]], paths: Sequence[pathlib.Path]) -> Picture | None:
    """Puts a clip above what each layer makes of it, where it is repeated most.

    Args:
        found: What `trace_one_layer` returned of all runs, by name.
        paths: The files that it has written.

    Returns:
        The picture; None where there is nothing to see.
    """
    files = [np.load(path) for path in paths if path.exists()]
    where = {name: file for file in files for name in file.files}
    most = max((entry["times"] for entry in found.values()), default=0)
    names = [name for name, entry in found.items() if entry["times"] == most and name in where]
    if not names:
        return None
    amount = found[names[0]]["r"]
    names = sorted((name for name in names if found[name]["r"] == amount), key=lambda name: found[name]["layer"])
    rows = [where[_FRAMES][_FRAMES], *(where[name][name] for name in names)]
    layers = ", ".join(str(found[name]["layer"]) for name in names)
    caption = (
        f"Frames of one clip; below them what layers {layers} alone make of its {found[names[0]]['tokens']} tokens, "
        f"removing {amount} of them {most} time{'s' if most > 1 else ''} (or as many as can go). Each group is filled "
        "with its mean colour and edged in a colour of its own; discarded tokens are black."
    )
    return Picture.from_array("One layer at a time", caption, sheet_of(rows))
