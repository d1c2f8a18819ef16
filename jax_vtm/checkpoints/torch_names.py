"""From PyTorch tensors by name to a model's parameter tree, by a table of names for each kind of model."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Set
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict

from jax_vtm.checkpoints import (
    names_motionformer,
    names_timesformer,
    names_videomae,
    names_videomae_hugging_face,
)
from jax_vtm.checkpoints.errors import CheckpointError
from jax_vtm.checkpoints.expected import Model, expected_params
from jax_vtm.checkpoints.families import family_of_file, family_of_tree
from jax_vtm.checkpoints.fit import fit_params, leaf_shape, misfit_error, shape_problems
from jax_vtm.checkpoints.hints import hints
from jax_vtm.checkpoints.names_vivit import vivit_source
from jax_vtm.checkpoints.torch_tensors import TorchSource


@dataclasses.dataclass(frozen=True)
class _Table:
    """The names of one kind of model.

    Attributes:
        source: The tensors behind a parameter; None where the files have no counterpart.
        files: Whose files these are, and what they hold, for error messages.
        leftovers: Tensors that the files have and the model has no use for.
        prefixes: What all names may begin with, besides.
    """

    source: Callable[[str, tuple[int, ...], tuple[tuple[str, int], ...]], TorchSource | None]
    files: str
    leftovers: Set[str] = frozenset()
    prefixes: tuple[str, ...] = ("module.", "model.")


_VIVIT = _Table(
    source=vivit_source,
    files="Hugging Face's ViViT has no counterpart of {}. It has the unfactorised model with a class token only.",
    prefixes=(),
)
_VIDEOMAE_OF_HUGGING_FACE = _Table(
    source=names_videomae_hugging_face.videomae_source,
    files="Hugging Face's VideoMAE has no counterpart of {}. It has one head.",
    prefixes=(),
)
_OTHERS = "{}'s files have no counterpart of {{}}. They have one head, or the two heads verb and noun."
# By the name of the family; whatever is not listed is a ViViT.
_TABLES = {
    "TimeSformer": _Table(
        source=names_timesformer.timesformer_source,
        files=_OTHERS.format("TimeSformer"),
        leftovers=names_timesformer.LEFTOVERS,
    ),
    "Motionformer": _Table(
        source=names_motionformer.motionformer_source,
        files=_OTHERS.format("Motionformer"),
        leftovers=names_motionformer.LEFTOVERS,
    ),
    "VideoMAE": _Table(
        source=names_videomae.videomae_source,
        files=_OTHERS.format("VideoMAE"),
        leftovers=names_videomae.LEFTOVERS,
    ),
}


def from_torch_state_dict(
    tensors: Mapping[str, np.ndarray], model: Model, *, source: str = "state dict"
) -> dict[str, Any]:
    """Converts a PyTorch state dict, given as numpy arrays, to a model's variables; torch is not needed.

    Args:
        tensors: Array by PyTorch name. For ViViT the names are those of Hugging Face's
            `VivitForVideoClassification`. A model with several heads takes `<head>_classifier.weight` and
            `.bias` for each of them, joined along the classes in the order of `model.heads`. For the other
            models the names are those of their released files (see the modules `names_*`), with or without
            `model.` or `module.` before all of them; the two heads verb and noun are there `head0` and `head1`.
            VideoMAE with one head also takes the names of Hugging Face's `VideoMAEForVideoClassification`.
        model: The model to fill.
        source: Where the tensors came from, for error messages.

    Returns:
        `{"params": nested dict of np.ndarray}`, with exactly the names, shapes and dtypes that the model
        expects.

    Raises:
        CheckpointError: A tensor is missing, unexpected, misshapen, not finite, or of a type that would have
            to be narrowed; all of them are listed, under their PyTorch names where possible.
    """
    expected = expected_params(model)
    flat: dict[str, Any] = flatten_dict(expected, sep="/")
    shapes = {path: tuple(leaf.shape) for path, leaf in flat.items()}
    family, found_family = family_of_tree(shapes), family_of_file(tensors)
    table = _table_of(family, tensors)
    sources = _sources(table, shapes, model, source)
    wanted = {name: shape for entry in sources.values() for name, shape in entry.shapes.items()}
    arrays = {name: np.asarray(tensor) for name, tensor in _without_prefixes(tensors, table.prefixes).items()}
    arrays = {name: array for name, array in arrays.items() if name not in table.leftovers}
    problems = shape_problems({name: leaf_shape(array) for name, array in arrays.items()}, wanted)
    converted = _convert(arrays, sources)
    if problems and family and found_family and family != found_family:
        guess = f"the tensors are named as in the files of {found_family}; the model is {family}."
        raise misfit_error(source, problems, [guess])
    if problems:
        found = {path: tuple(array.shape) for path, array in converted.items()}
        raise misfit_error(source, problems, hints(found, shapes, input_shape=model.input_shape))
    return {"params": fit_params(converted, expected, source=source, model=model)}


def to_hugging_face(variables: Mapping[str, Any], model: Model) -> dict[str, np.ndarray]:
    """Turns variables into the tensors of Hugging Face's files: `from_torch_state_dict` backwards.

    Args:
        variables: `{"params": ...}` of the model.
        model: An unfactorised ViViT with a class token, or a VideoMAE. Its heads share the library's one classifier
            if `num_classes` is their sum.

    Returns:
        Array by the name in the file.

    Raises:
        CheckpointError: Hugging Face has no such model.
    """
    flat: dict[str, Any] = flatten_dict(variables["params"], sep="/")
    family = family_of_tree(flat)
    table = _VIDEOMAE_OF_HUGGING_FACE if family == "VideoMAE" else _TABLES.get(family or "", _VIVIT)
    if table in _TABLES.values():
        raise CheckpointError(f"Hugging Face's file of a {family} is not known here; those of ViViT and VideoMAE are.")
    tensors = {}
    for path, source in _sources(table, {path: leaf.shape for path, leaf in flat.items()}, model, "the model").items():
        # Numbered elements, sent through the conversion, say where each of them ends.
        sizes = [math.prod(shape) for shape in source.shapes.values()]
        numbers = np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1])
        shaped = [part.reshape(shape) for part, shape in zip(numbers, source.shapes.values(), strict=True)]
        joined = np.empty(sum(sizes), flat[path].dtype)
        joined[source.convert(shaped).reshape(-1)] = np.asarray(flat[path]).reshape(-1)
        parts = np.split(joined, np.cumsum(sizes)[:-1])
        tensors |= {name: part.reshape(shape) for (name, shape), part in zip(source.shapes.items(), parts, strict=True)}
    return tensors


def _table_of(family: str | None, tensors: Iterable[str]) -> _Table:
    """The names of the model's kind; of VideoMAE there are files under two sets of them."""
    if family == "VideoMAE" and any(name.startswith(names_videomae_hugging_face.PREFIX) for name in tensors):
        return _VIDEOMAE_OF_HUGGING_FACE
    return _TABLES.get(family or "", _VIVIT)


def _sources(table: _Table, shapes: Mapping[str, tuple[int, ...]], model: Model, source: str) -> dict[str, TorchSource]:
    """The tensors behind every parameter."""
    sources = {path: table.source(path, shape, tuple(model.heads)) for path, shape in shapes.items()}
    without = sorted(path for path, entry in sources.items() if entry is None)
    if without:
        listed = ", ".join(without[:20]) + (f" and {len(without) - 20} more" if len(without) > 20 else "")
        raise CheckpointError(f"{source}: cannot be converted for this model: {table.files.format(listed)}")
    return {path: entry for path, entry in sources.items() if entry is not None}


def _without_prefixes(tensors: Mapping[str, np.ndarray], prefixes: tuple[str, ...]) -> Mapping[str, np.ndarray]:
    """Shortens the names by what a wrapper put in front of all of them."""
    for prefix in prefixes:
        if tensors and all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors


def _convert(arrays: Mapping[str, np.ndarray], sources: Mapping[str, TorchSource]) -> dict[str, np.ndarray]:
    """Converts what can be converted; what is missing or of another size is left to the report."""
    converted = {}
    for path, entry in sources.items():
        if not all(name in arrays for name in entry.shapes):
            continue
        try:
            # A contiguous copy, so that neither a strided view nor the whole file's buffer stays in use.
            converted[path] = np.ascontiguousarray(entry.convert([arrays[name] for name in entry.shapes]))
        except ValueError:
            continue
    return converted
