"""Reads files of named tensors: safetensors, npz, and Hugging Face's index of several files.

Headers are read first, arrays when they are needed, from buckets too. (The safetensors library reads lazily from local
disks only.)
"""

import contextlib
import json
import math
import zipfile
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
from etils import epath

from jax_vtm.checkpoints.locate import require_file
from jax_vtm.checkpoints.stored import CheckpointError, Stored, damage

HEAD_BYTES = 512
# The largest header that the safetensors library accepts; an index is smaller than its parts' headers.
_MAX_HEADER_BYTES = 100_000_000
_DTYPES = {
    "BOOL": np.dtype(np.bool_),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
    "C64": np.dtype(np.complex64),
    **{f"{kind}{bits}": np.dtype(f"{kind.lower()}{bits // 8}") for kind in "IU" for bits in (8, 16, 32, 64)},
    **{f"F{bits}": np.dtype(f"f{bits // 8}") for bits in (16, 32, 64)},
}


def is_safetensors(head: bytes) -> bool:
    """Returns whether a file begins as safetensors do: eight bytes for the length of a JSON header."""
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= _MAX_HEADER_BYTES


def is_index(path: epath.Path) -> bool:
    """Returns whether a file is an index of tensor files: JSON with a `weight_map`."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
        if is_safetensors(head) or not head.lstrip().startswith(b"{"):
            return False
        return b'"weight_map"' in head + file.read(_MAX_HEADER_BYTES)


def read_safetensors(path: epath.Path, files: contextlib.ExitStack) -> dict[str, Stored]:
    """Reads the header of a `.safetensors` file, which `files` keeps open."""
    size, file = path.stat().length, files.enter_context(path.open("rb"))
    damaged = f"the safetensors file is truncated or damaged: it has {size:,} bytes; download it again"

    def entry(dtype: np.dtype, shape: list[int], begin: int, stop: int) -> Stored:
        def read() -> np.ndarray:
            with damage(path, damaged):
                file.seek(begin)
                return np.frombuffer(file.read(stop - begin), dtype).reshape(shape)

        return Stored(tuple(shape), dtype, read)

    found = {}
    with damage(path, damaged):
        place = start = 8 + int.from_bytes(file.read(8), "little")
        if start > min(size, _MAX_HEADER_BYTES):
            raise ValueError(f"its header would end at byte {start:,}")
        header = json.loads(file.read(start - 8), object_pairs_hook=_unique)
        header.pop("__metadata__", None)
        for name, facts in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
            if (dtype := _DTYPES.get(facts["dtype"])) is None:
                raise CheckpointError(f"{path}: `{name}` has the dtype {facts['dtype']}, which cannot be read.")
            # The format allows no holes or overlaps, which would be changed offsets.
            shape, (begin, stop) = facts["shape"], facts["data_offsets"]
            if min(shape, default=0) < 0 or (start + begin, stop) != (place, begin + math.prod(shape) * dtype.itemsize):
                raise ValueError(f"`{name}` has the shape {shape} and lies at {[begin, stop]}")
            place = start + stop
            found[name] = entry(dtype, shape, start + begin, place)
        if place != size:
            raise ValueError(f"its tensors end at byte {place:,}")
    return found


def read_npz(path: epath.Path, files: contextlib.ExitStack) -> dict[str, Stored]:
    """Reads the headers of an `.npz` file, which `files` keeps open; checksums are checked when arrays are read."""
    archive = files.enter_context(zipfile.ZipFile(files.enter_context(path.open("rb"))))
    names = archive.namelist()
    if len(set(names)) < len(names):
        raise CheckpointError(f"{path}: two entries of this npz file have the same name.")
    return {name.removesuffix(".npy"): _npz_entry(path, archive, name) for name in names}


def _npz_entry(path: epath.Path, archive: zipfile.ZipFile, name: str) -> Stored:
    unreadable = f"the entry `{name.removesuffix('.npy')}` cannot be read"
    with damage(path, unreadable), archive.open(name) as member:
        version = np.lib.format.read_magic(member)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"a header of version {version}")
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = header(member)
        if dtype.hasobject:
            raise ValueError("Python objects, which are never unpickled")

    def read() -> np.ndarray:
        with damage(path, unreadable), archive.open(name) as member:
            array = np.lib.format.read_array(member, allow_pickle=False)
            if member.read(1):  # the checksum is checked at the end
                raise ValueError("more bytes than its header says")
            return array

    return Stored(tuple(shape), dtype, read)


def read_index(path: epath.Path, read_part: Callable[[epath.Path], dict[str, Stored]]) -> dict[str, Stored]:
    """Reads the headers of all files of an index."""
    weight_map, tensors = _weight_map(path), {}
    for part in parts_of(path):
        found = read_part(part)
        expected = {name for name, home in weight_map.items() if home == part.name}
        if expected != set(found):
            missing, unlisted = sorted(expected - set(found)), sorted(set(found) - expected)
            raise CheckpointError(
                f"{part}: does not hold what {path.name} says: missing {missing[:20] or 'nothing'}, "
                f"not listed {unlisted[:20] or 'nothing'}. Download index and parts from one place."
            )
        tensors |= found
    return tensors


def parts_of(path: epath.Path) -> list[epath.Path]:
    """Returns the files of an index, sorted by name; all are regular files next to it."""
    names = sorted(set(_weight_map(path).values()))
    for name in names:
        if epath.Path(name).name != name or "\0" in name:
            raise CheckpointError(f"{path}: the index names the file {name!r}; expected one in the same folder.")
        if not (path.parent / name).exists():
            raise CheckpointError(f"{path}: the index names {name}, which is not next to it. Download every part.")
        require_file(path.parent / name)
    return [path.parent / name for name in names]


def _weight_map(path: epath.Path) -> dict[str, str]:
    with damage(path, "not an index of tensor files: it has no readable `weight_map`"):
        weight_map = dict(json.loads(path.read_text(), object_pairs_hook=_unique)["weight_map"])
    if not all(isinstance(home, str) for home in weight_map.values()):
        raise CheckpointError(f"{path}: not an index of tensor files: its `weight_map` names files by something else.")
    return weight_map


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Makes a JSON object, without repeated names."""
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        raise ValueError(f"a repeated name: {next(name for name in names if names.count(name) > 1)!r}")
    return dict(pairs)
