"""Reads the tensors of PyTorch's files.

Training programs store arguments, paths and configurations with the weights. Objects of the modules in `_HARMLESS` are
ignored; a file with other classes is refused. Nothing in the file is run: a stand-in takes the place of each object.
"""

import collections
import contextlib
import functools
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from etils import epath

from jax_vtm.checkpoints.pickles import read_pickle
from jax_vtm.checkpoints.stored import CheckpointError, Stored, damage
from jax_vtm.errors import listed

_HARMLESS = re.compile(
    r"(argparse|pathlib|collections|datetime|decimal|fractions|types|typing|uuid|enum|numpy|omegaconf|yacs|fvcore|"
    r"easydict|addict|ml_collections|mmengine|mmcv|lightning|lightning_fabric|lightning_utilities|pytorch_lightning|"
    r"torchmetrics|torch\.distributed)\..+|"
    r"builtins\.(set|frozenset|complex|slice|range|bytearray|bytes|object|int|float|str|bool|list|dict|tuple|Ellipsis)|"
    r"torch\.(Size|Tensor|device|strided|sparse_\w+|per_\w+|nn\.parameter\.Parameter|serialization\._get_layout)"
)
_MAX_DEPTH = 50


class _StandIn(dict):
    """Takes the place of an object whose class is not loaded, and keeps its arguments and state."""

    stands_for = ""
    held: list[Any]
    __hash__ = object.__hash__  # type: ignore[assignment]

    def __new__(cls, *arguments: Any, **options: Any) -> "_StandIn":
        stand_in = super().__new__(cls)
        stand_in.held = [*arguments, *options.values()]
        return stand_in

    def __init__(self, *arguments: Any, **options: Any):
        """Accepts any arguments."""

    def append(self, value: Any) -> "_StandIn":
        """Keeps a value."""
        self.held.append(value)
        return self

    __setstate__ = add = append

    def __call__(self, *arguments: Any) -> "_StandIn":
        """Keeps the arguments of a call."""
        return self.append(arguments)


def read_torch(path: epath.Path, files: contextlib.ExitStack) -> dict[str, dict[str, Stored]]:
    """Reads every dict of tensors, by its path (`model`, `state_dict/ema`, or "") in a file that `files` keeps open."""
    refused: dict[str, str] = {}  # path by class

    @functools.cache
    def stand_in(name: str) -> type[_StandIn]:
        if not _HARMLESS.fullmatch(name):
            refused[name] = ""
        return type(name.rpartition(".")[2], (_StandIn,), {"stands_for": name})

    file, content = files.enter_context(path.open("rb")), None
    try:
        with damage(path, "not a PyTorch file that can be read, or damaged or cut short; download it again"):
            content = read_pickle(file, {}, stand_in)
    except CheckpointError:
        if not refused:
            raise
    for keys, node in _walk(content):
        kind = node if isinstance(node, type) else type(node)
        if issubclass(kind, _StandIn) and refused.get(kind.stands_for) == "":
            refused[kind.stands_for] = "/".join(keys)
    if refused:
        names = listed(f"`{name}`" + (f" under `{place}`" if place else "") for name, place in refused.items())
        raise CheckpointError(
            f"{path}: holds {names}, not tensors alone; reading that could run code from the file. If you trust it, "
            f'extract its tensors: torch.save(torch.load("{path.name}", weights_only=False)["KEY"], "stripped.pth"), '
            "with the KEY of its state dict; of a whole model, save model.state_dict()."
        )
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: expected a dict of tensors, found {type(content).__name__}.")
    found = {
        "/".join(keys): {str(name): _entry(path, value) for name, value in node.items()}
        for keys, node in _walk(content)
        if isinstance(node, dict) and any(isinstance(value, Stored) for value in node.values())
    }
    if not found:
        raise CheckpointError(f"{path}: expected a dict of tensors, found one of {listed(content)}.")
    return found


def _entry(path: epath.Path, value: Any) -> Stored:
    if not isinstance(value, Stored):
        return Stored(what=f"an object of type {type(value).__name__}")

    def read() -> np.ndarray:
        with damage(path, "a tensor in it cannot be read: it is damaged; download it again"):
            return value.read()

    return Stored(value.shape, value.dtype, read, value.what)


def _walk(content: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yields every object of a tree once with its keys, breadth first."""
    waiting: collections.deque[tuple[tuple[str, ...], Any]] = collections.deque([((), content)])
    seen: set[int] = set()
    while waiting:
        keys, node = waiting.popleft()
        if id(node) in seen:
            continue
        seen.add(id(node))
        yield keys, node
        if isinstance(node, dict) and len(keys) < _MAX_DEPTH:
            waiting.extend(((*keys, str(key)), child) for key, child in node.items())
        inside = node.held if isinstance(node, _StandIn) else node if isinstance(node, (list, tuple, set)) else ()
        waiting.extend((keys, child) for child in inside)
