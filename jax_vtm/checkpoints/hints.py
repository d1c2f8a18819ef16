"""Guesses, in plain words, at why a checkpoint does not fit a model."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

Shape = tuple[int, ...]
_BLOCK = re.compile(r"(.*?)encoderblock_(\d+)/")
_HEAD = "output_projection/kernel"
_EMBEDDING = "embedding/kernel"
_POSITIONS = "posembed_input/pos_embedding"


def hints(
    found: Mapping[str, Shape | None],
    expected: Mapping[str, Shape],
    *,
    input_shape: tuple[int, int, int, int],
) -> list[str]:
    """Guesses what the differences between two ViViT parameter trees mean.

    Args:
        found: Shape by path of what was read; None for what is not an array.
        expected: Shape by path of what the model has.
        input_shape: The model's frames, height, width, channels.

    Returns:
        One sentence or two per guess; an empty list if there is none.
    """
    if "Transformer" in _top_level(found) and "SpatialTransformer" in _top_level(expected):
        return ["this is a checkpoint of the unfactorised ViViT; the model is the factorised encoder."]
    if "SpatialTransformer" in _top_level(found) and "Transformer" in _top_level(expected):
        return ["this is a checkpoint of the factorised encoder; the model is the unfactorised ViViT."]
    guesses = []
    width, expected_width = _axis(found, _EMBEDDING, -1), _axis(expected, _EMBEDDING, -1)
    if width and expected_width and width != expected_width:
        guesses.append(
            f"the checkpoint's hidden size is {width}, the model's {expected_width}: it belongs to another model size."
        )
    guesses += _patch_hint(found, expected) + _layers_hint(found, expected)
    guesses += _positions_hints(found, expected, input_shape) + _classes_hint(found, expected)
    return guesses


def _classes_hint(found: Mapping[str, Shape | None], expected: Mapping[str, Shape]) -> list[str]:
    classes, expected_classes = _axis(found, _HEAD, -1), _axis(expected, _HEAD, -1)
    if not classes or not expected_classes or classes == expected_classes:
        return []
    return [
        f"the checkpoint predicts {classes} classes, the model {expected_classes}: it was probably trained "
        f"on another data set. Build the model with {classes} classes, or take another checkpoint."
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


def _top_level(paths: Iterable[str]) -> set[str]:
    return {path.split("/")[0] for path in paths}


def _axis(shapes: Mapping[str, Shape | None], path: str, axis: int) -> int | None:
    """One length of the shape at `path`; None where that does not exist."""
    shape = shapes.get(path)
    return shape[axis] if shape and -len(shape) <= axis < len(shape) else None
