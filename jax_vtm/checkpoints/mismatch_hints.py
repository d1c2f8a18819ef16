"""Guesses, in plain words, at why a checkpoint does not fit a model."""

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from jax_vtm.checkpoints.name_tables import architecture_of_tree
from jax_vtm.checkpoints.stored import Shape, listed

_BLOCK = re.compile(r"(.*?)/?encoderblock_(\d{1,6})/")
_EMBEDDING, _POSITIONS = "embedding/kernel", "posembed_input/pos_embedding"


def mismatch_hints(
    found: Mapping[str, Any], expected: Mapping[str, Any], input_shape: tuple[int, int, int, int]
) -> list[str]:
    """Guesses what the differences between two parameter trees mean.

    Args:
        found: By path, what was read: something with a `shape`, None for what is not an array.
        expected: By path, what the model has: something with a `shape`.
        input_shape: The model's frames, height, width, channels.

    Returns:
        One sentence or two per guess; an empty list if there is none.
    """
    architecture, wanted = architecture_of_tree(found), architecture_of_tree(expected)
    if architecture and wanted and architecture != wanted:
        return [f"this is a checkpoint of {architecture}; the model is {wanted}."]
    here = {path: tuple(leaf.shape or ()) for path, leaf in found.items()}
    there = {path: tuple(leaf.shape) for path, leaf in expected.items()}
    return [
        *_embedding_hints(here.get(_EMBEDDING, ()), there.get(_EMBEDDING, ())),
        *_layers_hints(here, there),
        *_positions_hints(here, there, input_shape),
        *_grid_hint(here, there, input_shape),
        *_classes_hint(here.get("output_projection/kernel", ()), there.get("output_projection/kernel", ())),
    ]


def _embedding_hints(found: Shape, expected: Shape) -> list[str]:
    if not found or not expected:
        return []
    guesses = []
    if found[-1] != expected[-1]:
        guesses.append(
            f"the checkpoint's hidden size is {found[-1]}, the model's {expected[-1]}: "
            "it belongs to another model size."
        )
    if found[:-1] != expected[:-1]:
        patch, wanted = found[:-1], expected[:-1]
        guesses.append(f"the checkpoint's patches (frames, height, width, channels) are {patch}, the model's {wanted}.")
    return guesses


def _layers_hints(found: Iterable[str], expected: Iterable[str]) -> list[str]:
    layers, expected_layers = _layers(found), _layers(expected)
    guesses = []
    for encoder in sorted(expected_layers):
        here, wanted = layers.get(encoder, set()), expected_layers[encoder]
        if here == wanted or not here:
            continue
        if here == set(range(len(here))):
            guesses.append(
                f"the checkpoint's {encoder or 'encoder'} has {len(here)} layers, the model's "
                f"{len(wanted)}: it belongs to another model size."
            )
        else:
            absent = listed(str(layer) for layer in range(max(here)) if layer not in here)
            guesses.append(f"layer {absent} is absent from the checkpoint's {encoder or 'encoder'}: it is incomplete.")
    return guesses


def _layers(paths: Iterable[str]) -> dict[str, set[int]]:
    """The numbers of the layers of each encoder."""
    layers: dict[str, set[int]] = {}
    for path in paths:
        if match := _BLOCK.match(path):
            layers.setdefault(match[1], set()).add(int(match[2]))
    return layers


def _positions_hints(found: Mapping[str, Shape], expected: Mapping[str, Shape], size: tuple[int, ...]) -> list[str]:
    lengths = {path: _length(found, path) for path in expected if path.endswith(_POSITIONS)}
    return [
        f"{path} has {length} positions, the model needs {expected[path][1]}: the checkpoint was probably "
        "trained with another number of frames, frame size, patch size or pooling (the model's "
        f"input is {size[0]} frames of {size[1]}x{size[2]}). Positions are not resized on loading."
        for path, length in lengths.items()
        if length and length != expected[path][1]
    ]


def _grid_hint(found: Mapping[str, Shape], expected: Mapping[str, Shape], size: tuple[int, ...]) -> list[str]:
    """Of the models with positions of space and time apart, whose `position_grid` can make up for the difference."""
    times, wanted_times = (_length(shapes, "positions/time") for shapes in (found, expected))
    places, wanted_places = (_length(shapes, "positions/space") for shapes in (found, expected))
    patch = expected.get(_EMBEDDING)
    if not (times and places and wanted_times and wanted_places and patch):
        return []
    if (times, places) == (wanted_times, wanted_places):
        return []
    places, wanted_places = places - 1, wanted_places - 1  # less the class token's
    stored = (
        f"the checkpoint stores positions of {times} times and {places} places, the model asks for {wanted_times} and "
        f"{wanted_places}."
    )
    side = math.isqrt(places)
    if side**2 != places:
        return [f"{stored} Build the model with the checkpoint's num_frames and image_size."]
    rows, columns = side * patch[1], side * patch[2]
    return [
        f"{stored} Build the model with num_frames={times * patch[0]} and image_size="
        f"{rows if rows == columns else (rows, columns)}; or keep {size[0]} frames of {size[1]}x{size[2]} and let "
        f"position_grid=({times}, {side}, {side}) interpolate them."
    ]


def _classes_hint(found: Shape, expected: Shape) -> list[str]:
    if not found or not expected or found[-1] == expected[-1]:
        return []
    return [
        f"the checkpoint predicts {found[-1]} classes, the model {expected[-1]}: it was probably trained "
        f"on another data set. Build the model with {found[-1]} classes, or take another checkpoint."
    ]


def _length(shapes: Mapping[str, Shape], path: str) -> int:
    """The second length of a shape; 0 where there is none."""
    return shapes[path][1] if len(shapes.get(path, ())) > 1 else 0
