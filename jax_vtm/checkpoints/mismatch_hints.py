"""Guesses why a checkpoint does not fit a model."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jax_vtm.checkpoints.name_tables import architecture_of_tree
from jax_vtm.checkpoints.stored import Shape
from jax_vtm.errors import listed

_BLOCK = re.compile(r"(.*?)/?encoderblock_(\d{1,6})/")


def mismatch_hints(
    found: Mapping[str, Any], expected: Mapping[str, Any], input_shape: tuple[int, int, int, int]
) -> list[str]:
    """Explains differences between two parameter trees, whose leaves have a `shape` (None if they are no arrays).

    `input_shape` is the model's [T, H, W, 3].
    """
    architecture, wanted = architecture_of_tree(found), architecture_of_tree(expected)
    if architecture and wanted and architecture != wanted:
        return [f"this is a checkpoint of {architecture}; the model is {wanted}."]
    here = {path: tuple(leaf.shape or ()) for path, leaf in found.items()}
    there = {path: tuple(leaf.shape) for path, leaf in expected.items()}

    def pair(path: str) -> tuple[Shape, Shape]:
        shapes = here.get(path, ()), there.get(path, ())
        return shapes if all(shapes) else ((), ())

    guesses = []
    (*patch, width), (*wanted_patch, wanted_width) = (shape or (0,) for shape in pair("embedding/kernel"))
    if width != wanted_width:
        guesses.append(
            f"the checkpoint's hidden size is {width}, the model's {wanted_width}: it belongs to another model size."
        )
    if patch != wanted_patch:
        guesses.append(
            f"the checkpoint's patches (frames, height, width, channels) are {tuple(patch)}, the model's "
            f"{tuple(wanted_patch)}."
        )
    guesses += _layers_hints(here, there)
    for path in there:
        shape, wanted_shape = pair(path)
        if path.endswith("posembed_input/pos_embedding") and len(shape) > 1 and shape[1] != wanted_shape[1]:
            guesses.append(
                f"{path} has {shape[1]} positions, the model needs {wanted_shape[1]}: the checkpoint was probably "
                "trained with another number of frames, frame size, patch size or pooling (the model's input is "
                f"{input_shape[0]} frames of {input_shape[1]}x{input_shape[2]}). Positions are not resized on loading."
            )
    times, places = pair("positions/time"), pair("positions/space")
    if min(map(len, (*times, *places))) > 1 and wanted_patch:
        lengths = [shape[1] for shape in (*times, *places)]
        guesses += _grid_hint(lengths, wanted_patch, input_shape) if all(lengths) else []
    classes, wanted_classes = (shape[-1:] for shape in pair("output_projection/kernel"))
    if classes != wanted_classes:
        guesses.append(
            f"the checkpoint predicts {classes[0]} classes, the model {wanted_classes[0]}: it was probably trained on "
            f"another data set. Build the model with {classes[0]} classes, or take another checkpoint."
        )
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
    layers: dict[str, set[int]] = {}
    for path in paths:
        if match := _BLOCK.match(path):
            layers.setdefault(match[1], set()).add(int(match[2]))
    return layers


def _grid_hint(lengths: Sequence[int], patch: Sequence[int], size: Sequence[int]) -> list[str]:
    """Suggests fields for models with separate positions of time and space."""
    times, wanted_times = lengths[:2]
    places, wanted_places = (length - 1 for length in lengths[2:])  # less the class token's
    if (times, places) == (wanted_times, wanted_places):
        return []
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
