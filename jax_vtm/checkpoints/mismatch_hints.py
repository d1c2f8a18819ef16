"""Guesses, in plain words, at why a checkpoint does not fit a model."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping

from jax_vtm.checkpoints.name_tables import architecture_of_tree
from jax_vtm.checkpoints.stored import Shape

_BLOCK = re.compile(r"(.*?)encoderblock_(\d+)/")
_HEAD = "output_projection/kernel"
_EMBEDDING = "embedding/kernel"
_POSITIONS = "posembed_input/pos_embedding"
_PLACES, _TIMES = "positions/space", "positions/time"


def mismatch_hints(
    found: Mapping[str, Shape | None], expected: Mapping[str, Shape], input_shape: tuple[int, int, int, int]
) -> list[str]:
    """Guesses what the differences between two parameter trees mean.

    Args:
        found: Shape by path of what was read; None for what is not an array.
        expected: Shape by path of what the model has.
        input_shape: The model's frames, height, width, channels.

    Returns:
        One sentence or two per guess; an empty list if there is none.
    """
    architecture, wanted = architecture_of_tree(found), architecture_of_tree(expected)
    if architecture and wanted and architecture != wanted:
        return [f"this is a checkpoint of {architecture}; the model is {wanted}."]
    guesses = []
    width, expected_width = _axis(found, _EMBEDDING, -1), _axis(expected, _EMBEDDING, -1)
    if width and expected_width and width != expected_width:
        guesses.append(
            f"the checkpoint's hidden size is {width}, the model's {expected_width}: it belongs to another model size."
        )
    guesses += _patch_hint(found, expected) + _layers_hint(found, expected)
    guesses += _positions_hints(found, expected, input_shape) + _grid_hint(found, expected, input_shape)
    guesses += _classes_hint(found, expected)
    return guesses


def _classes_hint(found: Mapping[str, Shape | None], expected: Mapping[str, Shape]) -> list[str]:
    classes, expected_classes = _axis(found, _HEAD, -1), _axis(expected, _HEAD, -1)
    if not classes or not expected_classes or classes == expected_classes:
        return []
    return [
        f"the checkpoint predicts {classes} classes, the model {expected_classes}: it was probably trained "
        f"on another data set. Build the model with {classes} classes "
        f"(--config.model.num_classes={classes}, several heads as verb:97,noun:300), or take another checkpoint."
    ]


def _positions_hints(
    found: Mapping[str, Shape | None], expected: Mapping[str, Shape], input_shape: tuple[int, int, int, int]
) -> list[str]:
    guesses = []
    frames, height, width, _ = input_shape
    for path, shape in expected.items():
        length = _axis(found, path, 1)
        if path.endswith(_POSITIONS) and length and length != shape[1]:
            guesses.append(
                f"{path} has {length} positions, the model needs {shape[1]}: the checkpoint was probably "
                "trained with another number of frames, frame size, patch size or pooling (the model's "
                f"input is {frames} frames of {height}x{width}). Positions are not resized on loading."
            )
    return guesses


def _grid_hint(
    found: Mapping[str, Shape | None], expected: Mapping[str, Shape], input_shape: tuple[int, int, int, int]
) -> list[str]:
    """Of the models with positions of space and time apart, whose `position_grid` can make up for the difference."""
    times, wanted_times = _axis(found, _TIMES, 1), _axis(expected, _TIMES, 1)
    places, wanted_places = _axis(found, _PLACES, 1), _axis(expected, _PLACES, 1)
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
    frames, height, width, _ = input_shape
    rows, columns = side * patch[1], side * patch[2]
    return [
        f"{stored} Build the model with num_frames={times * patch[0]} and image_size="
        f"{rows if rows == columns else (rows, columns)}; or keep {frames} frames of {height}x{width} and let "
        f"position_grid=({times}, {side}, {side}) interpolate them."
    ]


def _patch_hint(found: Mapping[str, Shape | None], expected: Mapping[str, Shape]) -> list[str]:
    kernel, wanted = found.get(_EMBEDDING), expected.get(_EMBEDDING)
    if not kernel or not wanted or kernel[:-1] == wanted[:-1]:
        return []
    return [f"the checkpoint's patches (frames, height, width, channels) are {kernel[:-1]}, the model's {wanted[:-1]}."]


def _layers_hint(found: Mapping[str, Shape | None], expected: Mapping[str, Shape]) -> list[str]:
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
            absent = ", ".join(map(str, sorted(set(range(max(here) + 1)) - here)))
            guesses.append(f"layer {absent} is absent from the checkpoint's {encoder or 'encoder'}: it is incomplete.")
    return guesses


def _layers(paths: Iterable[str]) -> dict[str, set[int]]:
    """The numbers of the layers of each encoder."""
    layers: dict[str, set[int]] = {}
    for path in paths:
        if match := _BLOCK.match(path):
            layers.setdefault(match[1].strip("/"), set()).add(int(match[2]))
    return layers


def _axis(shapes: Mapping[str, Shape | None], path: str, axis: int) -> int | None:
    """One length of the shape at `path`; None where that does not exist."""
    shape = shapes.get(path)
    return shape[axis] if shape and -len(shape) <= axis < len(shape) else None
