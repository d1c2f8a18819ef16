"""Runs what `convert --config.convert.to=stablehlo` has written; imports neither Flax nor any model."""

import dataclasses
import json
import os
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Shaped
from safetensors.numpy import load

from jax_vtm.errors import UserError, shown
from jax_vtm.regular_file import as_path

PROGRAM, PARAMS, DESCRIPTION = "program.bin", "params.safetensors", "exported.json"
PLATFORMS = ("cpu", "cuda", "tpu")


@dataclasses.dataclass(frozen=True)
class ExportedModel:
    """A model with its reduction as a program.

    Attributes:
        description: `exported.json`: input, classes, reduction, tokens per layer, protocol.
        params: Parameters on the device.
        program: The program, compiled once per batch size and device.
    """

    description: Mapping[str, Any]
    params: Any
    program: Any

    def __call__(self, video: Shaped[np.ndarray, "B T H W 3"]) -> Float[Array, "B K"] | dict[str, Float[Array, "B K"]]:
        """Returns the logits, float32, of a model with several heads by head.

        Args:
            video: Frames of 0 to 255 in `description["channels"]` order, of `description["input_dtype"]`.

        Raises:
            UserError: Another shape or type.
        """
        shape, dtype = tuple(self.description["input_shape"]), self.description["input_dtype"]
        if video.shape[1:] != shape or len(video) == 0 or video.dtype != dtype:
            wanted = ", ".join(map(str, shape))
            raise UserError(f"the program takes {dtype} [B, {wanted}]; got {video.dtype} {list(video.shape)}")
        return self.program(self.params, video)


def load_exported(folder: str | os.PathLike[str]) -> ExportedModel:
    """Reads an exported model.

    Args:
        folder: On a disk or in a bucket, with `program.bin`, `params.safetensors` and `exported.json`.

    Raises:
        UserError: A file is missing or damaged, or this JAX cannot read the program.
    """
    place = as_path(folder)
    try:
        description = json.loads((place / DESCRIPTION).read_bytes())
        tensors = load((place / PARAMS).read_bytes())
        exported = jax.export.deserialize(bytearray((place / PROGRAM).read_bytes()))
    except ImportError as error:
        raise UserError("a program is read with the package flatbuffers: pip install flatbuffers") from error
    except OSError as error:
        raise UserError(
            f"{shown(folder)}: {error}; expected a folder that `convert --config.convert.to=stablehlo` has written"
        ) from error
    except Exception as error:  # whatever a damaged file leads to
        raise UserError(
            f"{shown(folder)}: is damaged, or of a JAX that this one ({jax.__version__}) cannot read ({error}). Write "
            "it again with `convert --config.convert.to=stablehlo`."
        ) from error
    return ExportedModel(description, jax.device_put(_nested(tensors)), jax.jit(exported.call))


def _nested(tensors: Mapping[str, np.ndarray]) -> dict[str, Any]:
    params: dict[str, Any] = {}
    for path, tensor in tensors.items():
        *modules, leaf = path.split("/")
        node = params
        for module in modules:
            node = node.setdefault(module, {})
        node[leaf] = tensor
    return params
