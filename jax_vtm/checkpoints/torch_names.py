"""Converts PyTorch tensors to a model's parameter tree, and back, by the tables of names."""

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

from jax_vtm.checkpoints import name_tables, transforms
from jax_vtm.checkpoints.mismatch_hints import mismatch_hints
from jax_vtm.checkpoints.name_tables import Table, architecture_of_file, architecture_of_tree, tables_of
from jax_vtm.checkpoints.stored import CheckpointError, Stored, in_memory
from jax_vtm.checkpoints.transforms import TorchSource
from jax_vtm.checkpoints.validate import Model, abstract_params, header_problems, misfit_error, validate, widens_to
from jax_vtm.errors import listed, shown
from jax_vtm.models.videomae import sinusoid_positions

# Names that torch.compile, FSDP and activation checkpointing insert.
_WRAPPERS = re.compile(r"\b(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module|_forward_module|_fpw_module)\.")
# Buffers that are not learned.
_BUFFERS = re.compile(
    r"(^|\.)(num_batches_tracked|total_ops|total_params|position_ids|relative_position_index|relative_coords_table|"
    r"attn_mask|_extra_state)$"
)
_AVERAGED = re.compile(r"(^|[/._])(model_?)?(ema|swa|averaged?|shadow)([/._]|$)", re.IGNORECASE)
# Above this size, tensors are not converted to explain a wrong shape.
_MAX_GUESSED_ELEMENTS = 2**27


def from_torch_state_dict(
    tensors: Mapping[str, np.ndarray], model: Model, *, source: str = "state dict"
) -> dict[str, Any]:
    """Converts a PyTorch state dict, given as numpy arrays, to a model's variables.

    Args:
        tensors: Arrays by the names of the released files, or of Hugging Face's classes for ViViT, TimeSformer and
            VideoMAE (see `name_tables`). A ViViT with several heads has `<head>_classifier.weight` and `.bias`; the
            heads verb and noun of the others are `head0` and `head1` in the authors' files. Prefixes (`module.`,
            `model.`), wrappers (`_orig_mod.`) and buffers that are not learned are ignored.
        model: The model to fill.
        source: Name of the tensors in error messages.

    Returns:
        `{"params": nested dict of np.ndarray}`, with exactly the names, shapes and dtypes that the model expects.

    Raises:
        CheckpointError: Tensors are missing, unexpected, of a wrong shape, not finite, or of a type that would have to
            be narrowed; all are listed.
    """
    entries = {name: in_memory(np.asarray(array)) for name, array in tensors.items()}
    return {"params": params_from_torch(entries, abstract_params(model), model, source)}


def params_from_torch(
    entries: Mapping[str, Stored], expected: dict[str, Any], model: Model, source: str
) -> dict[str, Any]:
    """Converts entries as `from_torch_state_dict`, and reads them only if their shapes fit."""
    leaves: dict[str, Any] = flatten_dict(expected, sep="/")
    architecture, found_architecture = architecture_of_tree(leaves), architecture_of_file(entries)
    tables = tables_of(architecture)
    table = next((table for table in tables if any(re.search(table.mark, name) for name in entries)), tables[-1])
    sources = torch_sources(table, leaves, model, source)
    wanted: dict[str, Any] = {
        name: jax.ShapeDtypeStruct(shape, leaves[path].dtype)
        for path, tensors in sources.items()
        for name, shape in tensors.shapes.items()
    }
    entries = _without_wrappers(entries, wanted, source)
    entries = {name: entry for name, entry in entries.items() if name not in table.leftovers}
    fixed = {name: array for name, array in _fixed(table, leaves, model).items() if name in entries}
    converted = _converted({name: entry for name, entry in entries.items() if name not in fixed}, sources)
    shapes = {name: leaf.shape for name, leaf in (wanted | fixed).items()}
    # Wrong types and values are reported by `validate`, under our names.
    if {name: entry.shape for name, entry in entries.items()} != shapes:
        hints = mismatch_hints(converted, leaves, model.input_shape)
        if architecture and found_architecture and architecture != found_architecture:
            hints = [f"the tensors are named as in the files of {found_architecture}; the model is {architecture}."]
        raise misfit_error(source, header_problems(entries, wanted | fixed), hints)
    for name, array in fixed.items():
        _check_fixed(source, name, entries[name].read(), array)
    return validate(converted, expected, source=source, model=model)


def found_params(
    entries: Mapping[str, Stored], leaves: Mapping[str, Any], model: Model, source: str
) -> dict[str, np.ndarray]:
    """Converts those of a model's parameters, by path, whose tensors are there, in whatever shape they have there.

    Raises:
        CheckpointError: No tensor is named as in a file of the model's architecture.
    """
    tables = tables_of(architecture_of_tree(leaves))
    table = next((table for table in tables if any(re.search(table.mark, name) for name in entries)), tables[-1])
    sources = torch_sources(table, leaves, model, source)
    entries = _without_wrappers(entries, {name for tensors in sources.values() for name in tensors.shapes}, source)
    there = {path: tensors for path, tensors in sources.items() if all(name in entries for name in tensors.shapes)}
    if not there:
        raise CheckpointError(f"{source}: no tensor in it is named as in a file of {table.architecture}.")
    converted = {}
    for path, tensors in there.items():
        try:
            converted[path] = tensors.convert([entries[name].read() for name in tensors.shapes])
        except ValueError as error:
            shapes = listed(f"{name} {entries[name]}" for name in tensors.shapes)
            raise CheckpointError(f"{source}: {shapes} cannot become {path} {leaves[path].shape}.") from error
    return converted


def choose_tensors(
    sets: Mapping[str, dict[str, Stored]], expected: dict[str, Any], model: Model, source: str
) -> dict[str, Stored]:
    """Returns the dict of tensors with the most names of the model."""
    leaves: dict[str, Any] = flatten_dict(expected, sep="/")
    names = set(leaves)
    for table in tables_of(architecture_of_tree(leaves)):
        for path, leaf in leaves.items():
            names |= set(tensors.shapes) if (tensors := _source(table, path, leaf.shape, model)) else set()
    counts = {key: max(_prefixes(entries, names).values(), default=0) for key, entries in sets.items()}
    return sets[_best(counts if any(counts.values()) else {key: len(sets[key]) for key in sets}, source)]


def to_hugging_face(variables: Mapping[str, Any], model: Model) -> dict[str, np.ndarray]:
    """Converts variables to the tensors of Hugging Face's files, the inverse of `from_torch_state_dict`.

    Args:
        variables: `{"params": ...}` of the model.
        model: An unfactorised ViViT with a class token, a TimeSformer or a VideoMAE.

    Returns:
        Arrays by the names in the file.

    Raises:
        CheckpointError: Hugging Face has no such model.
    """
    leaves: dict[str, Any] = flatten_dict(variables["params"], sep="/")
    architecture = architecture_of_tree(leaves)
    if architecture == "Motionformer":
        raise CheckpointError("Hugging Face has no Motionformer; it has ViViT, TimeSformer and VideoMAE.")
    ports = {
        "TimeSformer": name_tables.TIMESFORMER_OF_HUGGING_FACE,
        "VideoMAE": name_tables.VIDEOMAE_OF_HUGGING_FACE,
    }
    table = ports.get(architecture or "", name_tables.VIVIT)
    tensors: dict[str, np.ndarray] = {}
    for path, source in torch_sources(table, leaves, model, "the model").items():
        # Converting the numbers of the elements gives the permutation to invert. Queries, keys and values of one tensor
        # fill a third of it each.
        leaf = np.asarray(leaves[path])
        parts = {name: tensors.setdefault(name, np.zeros(shape, leaf.dtype)) for name, shape in source.shapes.items()}
        ends = np.cumsum([part.size for part in parts.values()])
        numbers = zip(np.split(np.arange(ends[-1]), ends[:-1]), parts.values(), strict=True)
        joined = np.concatenate([part.reshape(-1) for part in parts.values()])
        joined[source.convert([number.reshape(part.shape) for number, part in numbers]).reshape(-1)] = leaf.reshape(-1)
        for part, values in zip(parts.values(), np.split(joined, ends[:-1]), strict=True):
            part[...] = values.reshape(part.shape)
    return tensors


def torch_sources(table: Table, leaves: Mapping[str, Any], model: Model, source: str) -> dict[str, TorchSource]:
    """Returns the tensors of every parameter; `leaves` have a shape, by path."""
    found = {path: _source(table, path, leaf.shape, model) for path, leaf in leaves.items()}
    if without := sorted(path for path, entry in found.items() if entry is None):
        raise CheckpointError(
            f"{source}: cannot be converted for this model: {table.without.format(table.architecture, listed(without))}"
        )
    return {path: entry for path, entry in found.items() if entry is not None}


def _source(table: Table, path: str, shape: tuple[int, ...], model: Model) -> TorchSource | None:
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
    """Removes prefixes and wrappers from the names, and buffers."""
    prefixes = _prefixes(entries, set(wanted))
    prefix = _best(prefixes, source) if prefixes else ""
    bare: dict[str, Stored] = {}
    for name, entry in entries.items():
        short = _WRAPPERS.sub("", name).removeprefix(prefix)
        if short in bare:
            raise CheckpointError(f"{source}: two tensors are `{short}` once wrappers are left out of their names.")
        if not _BUFFERS.search(short):
            bare[short] = entry
    return bare


def _prefixes(names: Iterable[str], wanted: set[str]) -> Counter[str]:
    """Counts the prefixes of wanted names."""
    found: Counter[str] = Counter()
    for name in names:
        name = _WRAPPERS.sub("", name)
        places = [0, *(match.end() for match in re.finditer(r"[./]", name))]
        # The longest wanted name: `norm.weight` is the end of many others.
        found.update(next(([name[:place]] for place in places if name[place:] in wanted), []))
    return found


def _best(counts: Mapping[str, int], source: str) -> str:
    """Returns the key with the highest count; of weights and their average the weights, with a warning."""
    best = [key for key, count in counts.items() if count == max(counts.values())]
    chosen = [key for key in best if not _AVERAGED.search(key)] or best
    if len(chosen) > 1:
        raise CheckpointError(
            f"{source}: holds several sets of the model's tensors, under {listed(chosen)}. Save the one to load alone."
        )
    if len(best) > 1:
        logging.getLogger(__name__).warning(
            "%s: loaded the weights under `%s`; to load the averaged ones under `%s`, save them alone",
            shown(source),
            shown(chosen[0] or "the file itself"),
            shown(listed(key for key in best if key not in chosen)),
        )
    return chosen[0]


def _fixed(table: Table, leaves: Mapping[str, Any], model: Model) -> dict[str, np.ndarray]:
    """Returns the optional tensors that must equal what the model computes."""
    fixed = {}
    if table.sinusoid:
        t, h, w, _, width = leaves["embedding/kernel"].shape
        frames, height, columns, _ = model.input_shape
        fixed[table.sinusoid] = sinusoid_positions((frames // t) * (height // h) * (columns // w), width)
    for path, leaf in leaves.items():
        if table.zero_biases and (match := re.fullmatch(r"encoderblock_(\d+)/attention/query/bias", path)):
            fixed[table.zero_biases.replace("*", match[1])] = np.zeros(math.prod(leaf.shape), np.float32)
    return fixed


def _check_fixed(source: str, name: str, found: np.ndarray, expected: np.ndarray) -> None:
    rounds = expected.any() and jnp.issubdtype(found.dtype, jnp.floating)
    rounding = 8 * float(jnp.finfo(found.dtype).eps) if rounds else 0
    if np.allclose(found.astype(np.float32), expected, rtol=0, atol=rounding):
        return
    reason = "learned positions; the model computes a fixed sinusoid"
    if not expected.any():
        reason = (
            "a bias of keys that is not zero; the model has none. It changes no attention, but the keys that merging "
            "compares"
        )
    raise CheckpointError(f"{source}: `{name}` holds {reason}. Such a checkpoint cannot be used.")


def _converted(entries: Mapping[str, Stored], sources: Mapping[str, TorchSource]) -> dict[str, Stored]:
    """Returns the parameters that can be converted, to be converted when they are read."""
    converted = {}
    for path, source in sources.items():
        parts = [entries[name] for name in source.shapes if name in entries]
        shapes = [part.shape for part in parts if part.shape is not None]
        fitting = shapes == list(source.shapes.values())
        if len(shapes) < len(source.shapes) or (not fitting and sum(map(math.prod, shapes)) > _MAX_GUESSED_ELEMENTS):
            continue
        try:
            # Broadcast from one element, so that nothing is allocated.
            shape = source.convert([np.broadcast_to(np.int8(0), shape) for shape in shapes]).shape
        except (ValueError, IndexError):
            continue
        dtypes = [part.dtype for part in parts if part.dtype is not None]
        dtype = next((dtype for dtype in dtypes if not widens_to(dtype, np.dtype(np.float32))), dtypes[0])
        converted[path] = Stored(
            shape, dtype, lambda source=source, parts=parts: source.convert([part.read() for part in parts])
        )
    return converted
