"""From PyTorch tensors by name to a model's parameter tree, by the tables of names, and back."""

from __future__ import annotations

import logging
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict

from jax_vtm.checkpoints import transforms
from jax_vtm.checkpoints.mismatch_hints import mismatch_hints
from jax_vtm.checkpoints.name_tables import (
    VIDEOMAE_OF_HUGGING_FACE,
    VIVIT,
    Table,
    architecture_of_file,
    architecture_of_tree,
    tables_of,
)
from jax_vtm.checkpoints.stored import CheckpointError, Shape, Stored, in_memory, listed
from jax_vtm.checkpoints.transforms import TorchSource
from jax_vtm.checkpoints.validate import Model, abstract_params, header_problems, misfit_error, validate, widens_to
from jax_vtm.errors import shown
from jax_vtm.models.videomae import sinusoid_positions

# Modules that torch.compile, FSDP, activation checkpointing and the like put around others, at any depth.
_WRAPPERS = re.compile(r"\b(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module|_forward_module|_fpw_module)\.")
# Counters, masks and indices that forks and profilers register beside the weights; none of them is learned.
_BUFFERS = re.compile(
    r"(^|\.)(num_batches_tracked|total_ops|total_params|position_ids|relative_position_index|relative_coords_table|"
    r"attn_mask|_extra_state)$"
)
_AVERAGED = re.compile(r"(^|[/._])(model_?)?(ema|swa|averaged?|shadow)([/._]|$)", re.IGNORECASE)
# Above, tensors are not joined just to guess what their shape means.
_MAX_GUESSED_ELEMENTS = 2**27


def from_torch_state_dict(
    tensors: Mapping[str, np.ndarray], model: Model, *, source: str = "state dict"
) -> dict[str, Any]:
    """Converts a PyTorch state dict, given as numpy arrays, to a model's variables; torch is not needed.

    Args:
        tensors: Array by PyTorch name: the names of the released files, or those of Hugging Face's classes for ViViT,
            TimeSformer and VideoMAE (see `name_tables`). A ViViT with several heads takes `<head>_classifier.weight`
            and `.bias` for each of them, joined along the classes in the order of `model.heads`; the two heads verb
            and noun of the others are `head0` and `head1` in the authors' files. What wrappers put in front of
            all names (`module.`, `model.`) or in between (`_orig_mod.`, `_fsdp_wrapped_module.`) does not matter, and
            buffers that are not learned (`num_batches_tracked`, `total_ops`, ...) are left out.
        model: The model to fill.
        source: Where the tensors came from, for error messages.

    Returns:
        `{"params": nested dict of np.ndarray}`, with exactly the names, shapes and dtypes that the model
        expects.

    Raises:
        CheckpointError: A tensor is missing, unexpected, misshapen, not finite, or of a type that would have
            to be narrowed; all of them are listed, under their PyTorch names where possible.
    """
    return params_from_torch({name: in_memory(np.asarray(array)) for name, array in tensors.items()}, model, source)


def params_from_torch(entries: Mapping[str, Stored], model: Model, source: str) -> dict[str, Any]:
    """As `from_torch_state_dict`, of entries that are not read before their shapes are known to fit."""
    expected = abstract_params(model)
    flat: dict[str, Any] = flatten_dict(expected, sep="/")
    shapes = {path: tuple(leaf.shape) for path, leaf in flat.items()}
    architecture, found_architecture = architecture_of_tree(shapes), architecture_of_file(entries)
    tables = tables_of(architecture)
    table = next((table for table in tables if any(map(table.mark.search, entries))), tables[-1])
    sources = torch_sources(table, shapes, model, source)
    wanted = {name: shape for entry in sources.values() for name, shape in entry.shapes.items()}
    entries = _without_wrappers(entries, wanted, source)
    fixed = {name: array for name, array in _fixed(table, shapes, wanted, model).items() if name in entries}
    found = {name: entry for name, entry in entries.items() if name not in table.leftovers}
    dtypes = {name: flat[path].dtype for path, entry in sources.items() for name in entry.shapes}
    wanted |= {name: array.shape for name, array in fixed.items()}
    if {name: entry.shape for name, entry in found.items()} == wanted:
        problems = []  # types and values are named as ours
    else:
        expected_here = {
            name: jax.ShapeDtypeStruct(shape, dtypes.get(name, np.float32)) for name, shape in wanted.items()
        }
        problems = header_problems(found, expected_here)
    converted = _converted({name: entry for name, entry in found.items() if name not in fixed}, sources)
    if problems and architecture and found_architecture and architecture != found_architecture:
        guess = f"the tensors are named as in the files of {found_architecture}; the model is {architecture}."
        raise misfit_error(source, problems, [guess])
    if problems:
        guesses = mismatch_hints({path: entry.shape for path, entry in converted.items()}, shapes, model.input_shape)
        raise misfit_error(source, problems, [*guesses, *_inside_another(entries, wanted)])
    for name, array in fixed.items():
        _check_fixed(source, name, found[name].read(), array)
    return {"params": validate(converted, expected, source=source, model=model)}


def choose_tensors(sets: Mapping[str, Mapping[str, Stored]], model: Model, source: str) -> Mapping[str, Stored]:
    """Of several dicts of tensors in one file, takes the one with the most names of the model.

    Of weights and their running average, the weights are taken, and that is said.

    Raises:
        CheckpointError: Several have as many.
    """
    flat: dict[str, Any] = flatten_dict(abstract_params(model), sep="/")
    shapes = {path: tuple(leaf.shape) for path, leaf in flat.items()}
    names = set(flat) | {f"params/{path}" for path in flat}
    for table in tables_of(architecture_of_tree(shapes)):
        for entry in _optional_sources(table, shapes, model).values():
            names |= set(entry.shapes) if entry else set()
    score = {key: max(_prefixes(entries, names).values(), default=0) for key, entries in sets.items()}
    best = [key for key in sets if score[key] == max(score.values())]
    if max(score.values()) == 0:
        best = [max(sets, key=lambda key: len(sets[key]))]
    chosen = [key for key in best if not _AVERAGED.search(key)] or best
    if len(chosen) > 1:
        raise CheckpointError(
            f"{source}: holds several sets of the model's tensors, under {listed(chosen)}. Save the one that is meant."
        )
    if len(best) > 1:
        others = listed([key for key in best if key not in chosen])
        logging.getLogger(__name__).warning(
            "%s: took the weights under `%s`; the averaged ones under `%s` have to be saved alone to be taken",
            shown(source),
            chosen[0] or "the file itself",
            others,
        )
    return sets[chosen[0]]


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
    architecture = architecture_of_tree(flat)
    if architecture in ("TimeSformer", "Motionformer"):
        raise CheckpointError(
            f"Hugging Face's file of a {architecture} is not known here; those of ViViT and VideoMAE are."
        )
    table = VIDEOMAE_OF_HUGGING_FACE if architecture == "VideoMAE" else VIVIT
    tensors = {}
    shapes = {path: leaf.shape for path, leaf in flat.items()}
    for path, source in torch_sources(table, shapes, model, "the model").items():
        # Numbered elements, sent through the conversion, say where each of them ends.
        sizes = [math.prod(shape) for shape in source.shapes.values()]
        numbers = np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1])
        shaped = [part.reshape(shape) for part, shape in zip(numbers, source.shapes.values(), strict=True)]
        joined = np.empty(sum(sizes), flat[path].dtype)
        joined[source.convert(shaped).reshape(-1)] = np.asarray(flat[path]).reshape(-1)
        parts = np.split(joined, np.cumsum(sizes)[:-1])
        tensors |= {name: part.reshape(shape) for (name, shape), part in zip(source.shapes.items(), parts, strict=True)}
    return tensors


def torch_sources(table: Table, shapes: Mapping[str, Shape], model: Model, source: str) -> dict[str, TorchSource]:
    """The tensors behind every parameter."""
    found = _optional_sources(table, shapes, model)
    if without := sorted(path for path, entry in found.items() if entry is None):
        verb = "have" if table.files.endswith("files") else "has"
        raise CheckpointError(
            f"{source}: cannot be converted for this model: {table.files} {verb} no counterpart of {listed(without)}. "
            f"{table.limits}"
        )
    return {path: entry for path, entry in found.items() if entry is not None}


def _optional_sources(table: Table, shapes: Mapping[str, Shape], model: Model) -> dict[str, TorchSource | None]:
    return {path: _source(table, path, shape, model) for path, shape in shapes.items()}


def _source(table: Table, path: str, shape: Shape, model: Model) -> TorchSource | None:
    module, _, leaf = path.rpartition("/")
    if module == "output_projection":
        names = [(table.head(head), classes) for head, classes in model.heads]
        known = [(name, classes) for name, classes in names if name]
        return transforms.classifiers(known, leaf, shape) if len(known) == len(names) else None
    number = re.search(r"encoderblock_(\d+)/", path)
    for key in (path, module):
        row = table.rows.get(key.replace(number[0], "encoderblock_*/") if number else key)
        if row and (key == path or leaf in ("kernel", "bias", "scale")):
            name, transform = row
            return transform(name.replace("*", number[1]) if number else name, leaf, shape)
    return None


def _without_wrappers(entries: Mapping[str, Stored], wanted: Iterable[str], source: str) -> dict[str, Stored]:
    """Shortens the names by what wrappers put into them, and leaves buffers out."""
    bare = {_WRAPPERS.sub("", name): entry for name, entry in entries.items()}
    if len(bare) < len(entries):
        raise CheckpointError(f"{source}: two tensors have one name once those of wrappers are left out of them.")
    bare = {name: entry for name, entry in bare.items() if not _BUFFERS.search(name)}
    prefixes = _prefixes(bare, set(wanted)).most_common()
    if not prefixes:
        return bare
    best = [prefix for prefix, count in prefixes if count == prefixes[0][1]]
    chosen = [prefix for prefix in best if not _AVERAGED.search(prefix)] or best
    if len(chosen) > 1:
        raise CheckpointError(
            f"{source}: holds several sets of the model's tensors, named {listed(chosen)}. Save one of them."
        )
    return {name.removeprefix(chosen[0]): entry for name, entry in bare.items()}


def _prefixes(names: Iterable[str], wanted: set[str]) -> Counter[str]:
    """What stands before a wanted name, by how often it does."""
    found: Counter[str] = Counter()
    for name in names:
        name = _WRAPPERS.sub("", name)
        places = [0, *(match.end() for match in re.finditer(r"\.", name))]
        # The longest name that is wanted: `norm.weight` is the end of many others.
        found.update(next(([name[:place]] for place in places if name[place:] in wanted), []))
    return found


def _inside_another(entries: Iterable[str], wanted: Iterable[str]) -> list[str]:
    """A hint on names below `backbone.` and the like."""
    known = {name.split(".")[0] for name in wanted}
    counts = Counter(name.split(".")[0] for name in entries if "." in name)
    strange = [name for name, count in counts.most_common() if name not in known and 2 * count > sum(counts.values())]
    return [f"most names begin with `{name}.`: the model is a part of another there." for name in strange]


def _fixed(
    table: Table, shapes: Mapping[str, Shape], wanted: Mapping[str, Shape], model: Model
) -> dict[str, np.ndarray]:
    """Tensors that files may have, and that must hold what the model computes."""
    fixed = {}
    if table.sinusoid:
        t, h, w, _, width = shapes["embedding/kernel"]
        frames, height, columns, _ = model.input_shape
        fixed[table.sinusoid] = sinusoid_positions((frames // t) * (height // h) * (columns // w), width)
    for path, shape in shapes.items():
        if table.zero_biases and (match := re.fullmatch(r"encoderblock_(\d+)/attention/query/bias", path)):
            fixed[table.zero_biases.replace("*", match[1])] = np.zeros(math.prod(shape), np.float32)
    return fixed


def _check_fixed(source: str, name: str, found: np.ndarray, expected: np.ndarray) -> None:
    precise = jnp.issubdtype(found.dtype, jnp.floating) and 8 * float(jnp.finfo(found.dtype).eps)
    if np.allclose(found.astype(np.float32), expected, rtol=0, atol=precise or 0):
        return
    reason = "learned positions; the model computes a fixed sinusoid"
    if not expected.any():
        reason = (
            "a bias of keys that is not zero; the model has none. It changes no attention, but the keys that merging "
            "compares"
        )
    raise CheckpointError(f"{source}: `{name}` holds {reason}. Such a checkpoint cannot be used.")


def _converted(entries: Mapping[str, Stored], sources: Mapping[str, TorchSource]) -> dict[str, Stored]:
    """Parameters that will be converted when they are read; what cannot be converted is left to the report."""
    converted = {}
    for path, source in sources.items():
        parts = [entries[name] for name in source.shapes if name in entries]
        shapes = [part.shape for part in parts if part.shape is not None]
        if len(shapes) < len(source.shapes):
            continue
        if shapes != list(source.shapes.values()) and sum(map(math.prod, shapes)) > _MAX_GUESSED_ELEMENTS:
            continue
        try:
            # Of one element, so that nothing is allocated.
            shape = source.convert([np.broadcast_to(np.int8(0), shape) for shape in shapes]).shape
        except (ValueError, IndexError):
            continue
        dtypes = [part.dtype for part in parts if part.dtype is not None]
        dtype = next((dtype for dtype in dtypes if not widens_to(dtype, np.dtype(np.float32))), dtypes[0])
        converted[path] = Stored(
            shape, dtype, lambda source=source, parts=parts: source.convert([part.read() for part in parts])
        )
    return converted
