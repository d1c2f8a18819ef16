"""Writes a model with its reduction as a program that runs without Flax and without this package's models.

The program is a `jax.export` artefact (StableHLO) for CPUs, NVIDIA GPUs and TPUs alike; the number of clips is free.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict
from jax import export
from safetensors.numpy import save

from jax_vtm.data import ClipProtocol
from jax_vtm.errors import UserError
from jax_vtm.evaluation import create_eval_step
from jax_vtm.exporting.load import DESCRIPTION, PARAMS, PLATFORMS, PROGRAM
from jax_vtm.files import AnyPath, atomic_write, write_text
from jax_vtm.models import VideoClassifier


def export_model(
    folder: AnyPath,
    model: VideoClassifier,
    params: Mapping[str, Any],
    protocol: ClipProtocol,
    *,
    class_names: Mapping[str, Sequence[str]],
    random_seed: int = 0,
    **described: Any,
) -> None:
    """Writes `program.bin`, `params.safetensors` and `exported.json`, which `load_exported` reads.

    The program computes logits from frames: it normalises them as the protocol says, and a random reduction draws from
    the seed and each clip's place in the batch. Attention, matching and merging are the plain ones of XLA, which every
    platform has.

    Args:
        folder: Where to.
        model: The model, with its reduction.
        params: Its parameters.
        protocol: How videos become frames; it is described, and its normalisation is part of the program.
        class_names: By head, as far as they are known.
        random_seed: Of the random reductions.
        **described: More for `exported.json`.

    Raises:
        UserError: The package flatbuffers is missing, or the folder cannot be written.
    """
    plain = model.clone(attention="xla", matching="xla", merging="one_hot")
    step = create_eval_step(plain, random_seed, 0, protocol.mean, protocol.std)

    def program(params, frames):
        logits = step(params, frames[:, None], jax.numpy.arange(frames.shape[0]))
        logits = {head: values[:, 0] for head, values in logits.items()}
        return logits if isinstance(model.num_classes, Mapping) else next(iter(logits.values()))

    (batch,) = export.symbolic_shape("B")
    frames = jax.ShapeDtypeStruct((batch, *model.input_shape), protocol.frame_dtype)
    flat = {name: np.asarray(leaf) for name, leaf in flatten_dict(dict(params), sep="/").items()}
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), dict(params))
    exported = export.export(jax.jit(program), platforms=PLATFORMS)(shapes, frames)
    try:
        serialized = exported.serialize()
    except ImportError as error:
        raise UserError("a program is written with the package flatbuffers: pip install flatbuffers") from error
    description = {
        "model": type(model).__name__,
        "num_classes": dict(model.num_classes) if isinstance(model.num_classes, Mapping) else model.num_classes,
        "input_shape": list(model.input_shape),
        "input_dtype": np.dtype(protocol.frame_dtype).name,
        "channels": protocol.channels,
        "class_names": {head: list(names) for head, names in class_names.items()},
        "reduction": dataclasses.asdict(model.reduction),
        "tokens_per_layer": list(model.tokens_per_layer),
        "macs_per_clip": model.macs.total,
        "protocol": {"description": protocol.describe(), **dataclasses.asdict(protocol)},
        "platforms": list(PLATFORMS),
        "jax": jax.__version__,
        **described,
    }
    for name, content in ((PROGRAM, serialized), (PARAMS, save(flat))):
        with atomic_write(folder / name) as file:
            file.write(content)
    # Last: a folder with a description is complete.
    write_text(folder / DESCRIPTION, f"{json.dumps(description, indent=2)}\n")
