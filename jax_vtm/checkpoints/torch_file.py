"""PyTorch's own files: the tensors in them, without running any code of the file.

Training programs put all sorts of things beside the weights: arguments, paths, numpy's numbers, configurations. They
are not needed here. Objects of the modules in `_HARMLESS` are replaced by stand-ins that do nothing, and their modules
are never imported; of any other class that PyTorch does not allow by itself, the file is refused.
"""

import collections
import contextlib
import pickletools
import re
import zipfile
from collections.abc import Iterable, Iterator
from typing import Any

import ml_dtypes
import numpy as np
from etils import epath

from jax_vtm.checkpoints.stored import CheckpointError, Stored, damage, listed, no_array

_HARMLESS = re.compile(
    r"(argparse|pathlib|collections|datetime|decimal|fractions|types|typing|uuid|enum|numpy|omegaconf|yacs|fvcore|"
    r"easydict|addict|ml_collections|mmengine|mmcv|lightning|lightning_fabric|lightning_utilities|pytorch_lightning|"
    r"torchmetrics)\..+|"
    r"builtins\.(set|frozenset|complex|slice|range|bytearray|bytes|object|int|float|str|bool|list|dict|tuple|Ellipsis)"
)
# Classes that are filled as dicts and lists are; PyTorch's reader fills nothing but dicts and lists themselves.
_DICTS = ("defaultdict", "CfgNode", "EasyDict", "Dict", "ConfigDict", "AttributeDict")
_LISTS = ("deque",)
_MAX_DEPTH = 50
_MAX_PICKLES = 5  # an old file is a row of them, and then the content of the tensors


class _StandIn:
    """In place of an object of a class that is not loaded; keeps what the file would have given it."""

    held: list[Any]

    def __new__(cls, *arguments: Any, **options: Any) -> Any:
        stand_in = object.__new__(cls)
        stand_in.held = [*arguments, *options.values()]
        return stand_in

    def __init__(self, *arguments: Any, **options: Any):
        """Takes whatever the file gives."""

    def __setstate__(self, state: Any) -> None:
        self.held.append(state)


class _DictStandIn:
    """In place of an object that is filled as a dict is: a dict that says what it stands for."""

    def __new__(cls, *arguments: Any, **options: Any) -> Any:
        stand_in = collections.OrderedDict()
        stand_in.stands_for = cls  # pyright: ignore[reportAttributeAccessIssue]
        return stand_in


class _ListStandIn:
    """In place of an object that is filled as a list is."""

    def __new__(cls, *arguments: Any, **options: Any) -> Any:
        return []


def read_torch(path: epath.Path) -> dict[str, dict[str, Stored]]:
    """Reads a PyTorch file that holds a dict of tensors, or dicts of them beside other things.

    Returns:
        By the keys that lead to it (`model`, `state_dict/ema`; empty for the file itself), every dict that has tensors
        in it directly; in each of them entry by name.

    Raises:
        CheckpointError: torch is not installed, the file holds more than can be read without running code, is damaged,
            or is no dict of tensors.
    """
    try:
        import torch  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise CheckpointError(
            f"{path}: reading a PyTorch file needs torch, which is not installed. "
            "Run `pip install jax_vtm[torch]`, or convert the file to safetensors."
        ) from error
    _check_archive(path)
    names = _class_names(path)
    harmless = [name for name in names if _HARMLESS.fullmatch(name)]
    try:
        content = _load(path, harmless, torch)
    except OSError:
        raise
    except Exception as error:  # UnpicklingError, RuntimeError, EOFError, ...: torch promises no one type
        raise _refusal(path, names, error, torch) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: expected a dict of tensors, found {type(content).__name__}.")
    with damage(path, "its tensors cannot be read"):
        found = {
            "/".join(keys): {str(name): _stored(value, path, torch) for name, value in node.items()}
            for keys, node in _walk(content)
            if isinstance(node, dict) and any(isinstance(value, torch.Tensor) for value in node.values())
        }
    if not found:
        raise CheckpointError(f"{path}: expected a dict of tensors, found one of {listed(list(map(str, content)))}.")
    return found


def _check_archive(path: epath.Path) -> None:
    """Compares the checksums in the zip archive that a PyTorch file is, which torch itself does not look at."""
    with path.open("rb") as file:
        if file.read(2) != b"PK":
            return  # files of before 2020 are no archives, and have no checksums
        with damage(path, "torch cannot read this file: it is damaged"), zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            if sum(member.file_size for member in members) > path.stat().length:
                raise CheckpointError(
                    f"{path}: its entries are compressed, which PyTorch never does, or damaged. Save the state dict "
                    "anew with torch.save."
                )
            # torch.serialization.set_crc32_options(False) leaves all of them out.
            if any(member.CRC for member in members) and (damaged := archive.testzip()):
                raise CheckpointError(
                    f"{path}: torch cannot read this file: it is damaged; the checksum of `{damaged}` in it does not "
                    "match. Download it again."
                )


def _class_names(path: epath.Path) -> dict[str, str]:
    """The classes and functions that the file's pickles name, each with the text before it: most often its key.

    Nothing is loaded to find them.
    """
    names: dict[str, str] = {}
    with path.open("rb") as file, damage(path, "torch cannot read this file: it is damaged or cut short"):
        streams: list[Any] = [file] * _MAX_PICKLES
        if zipfile.is_zipfile(file):
            archive, streams = zipfile.ZipFile(file), []
            for member in archive.infolist():
                if member.filename.endswith("data.pkl"):
                    member.CRC = None  # pyright: ignore[reportAttributeAccessIssue]  # compared already, or left out
                    streams.append(archive.open(member))
        file.seek(0)
        for stream in streams:
            strings = [""]
            try:
                for operation, argument, _ in pickletools.genops(stream):
                    if operation.name == "GLOBAL":
                        names.setdefault(str(argument).replace(" ", "."), strings[-1])
                    elif operation.name == "STACK_GLOBAL":
                        names.setdefault(".".join(strings[-2:]), "")
                    elif isinstance(argument, str):
                        strings.append(argument)
            except ValueError:  # where an old file's pickles end, and in damaged ones, of which torch speaks
                break
    return {name.replace("__builtin__.", "builtins."): before for name, before in names.items()}


def _load(path: epath.Path, replaced: Iterable[str], torch: Any, other: type = _StandIn) -> Any:
    """Loads a file in which these classes and functions are replaced by stand-ins."""
    stand_ins = []
    for name in replaced:
        module, _, attribute = name.rpartition(".")
        base = _DictStandIn if attribute in _DICTS else _ListStandIn if attribute in _LISTS else other
        stand_ins.append(type(attribute, (base,), {"__module__": module, "__qualname__": attribute}))
    with path.open("rb") as file, torch.serialization.safe_globals(stand_ins):
        return torch.load(file, map_location="cpu", weights_only=True)


def _refusal(path: epath.Path, names: dict[str, str], error: Exception, torch: Any) -> CheckpointError:
    """Says which class is in the way, and where; or that the file is damaged."""
    head = f"{path}: torch cannot read this file with `weights_only=True`, and reading it otherwise could run code"
    strange = [name for name in names if not _HARMLESS.fullmatch(name) and not name.startswith("torch.")]
    in_the_way = strange or [name for name in names if name in str(error)]
    if "GLOBAL" not in str(error) or not in_the_way:
        # torch's own sentence ends in advice to switch the safety off, which is not ours to give.
        inner = re.search(r"WeightsUnpickler error:\s*(.*)", str(error))
        reason = inner[1] if inner else next((line for line in str(error).splitlines() if line.strip()), "")
        return CheckpointError(
            f"{head} from the file ({type(error).__name__}: {reason.strip()}). If it is cut short, download it again; "
            "if it holds more than tensors, save only its state dict."
        )
    places: dict[str, str] = {}
    for stand_in in (_StandIn, _DictStandIn):
        with contextlib.suppress(Exception):  # then it cannot be said where
            for keys, node in _walk(_load(path, names, torch, stand_in)):
                kind = getattr(node, "stands_for", node if isinstance(node, type) else type(node))
                places.setdefault(f"{kind.__module__}.{kind.__qualname__}", "/".join(keys))
    said = [
        f"`{name}`" + (f" under `{place}`" if (place := places.get(name) or names[name]) else "") for name in in_the_way
    ]
    return CheckpointError(
        f"{head}: it holds {listed(said)}, and no tensors alone. Where you trust it, keep its tensors: "
        f'torch.save(torch.load("{path.name}", weights_only=False)["KEY"], "stripped.pth"), with the KEY of its state '
        "dict; of a whole model, save model.state_dict()."
    )


def _walk(content: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Visits every object of a tree once, with the keys that lead to it; the outer before the inner."""
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
        elif isinstance(node, (list, tuple)):
            waiting.extend((keys, child) for child in node)
        elif isinstance(node, _StandIn):
            waiting.extend((keys, child) for child in node.held)


def _stored(value: Any, path: epath.Path, torch: Any) -> Stored:
    """A tensor's shape and type; of those that hold no plain numbers, what they are."""
    if not isinstance(value, torch.Tensor):
        return no_array(f"an object of type {type(value).__name__}")
    name = str(value.dtype).removeprefix("torch.")
    dtype = np.dtype(getattr(ml_dtypes, name, None) or getattr(np, name, None) or object)
    for what, applies in (
        ("a nested tensor", value.is_nested),
        ("a sparse tensor", value.layout is not torch.strided),
        ("a quantised tensor", value.is_quantized),
        (f"a tensor without values, on the device `{value.device}`", value.device.type != "cpu"),
        (f"a tensor of {name}", dtype.hasobject),
    ):
        if applies:
            return no_array(what)

    def read() -> np.ndarray:
        with damage(path, "a tensor cannot be read"):
            tensor = value.detach().resolve_conj().resolve_neg()
            # numpy has no bfloat16 of its own, so torch cannot hand one over.
            return (tensor.to(torch.float32) if tensor.dtype == torch.bfloat16 else tensor).numpy()

    return Stored(tuple(value.shape), dtype, read)
