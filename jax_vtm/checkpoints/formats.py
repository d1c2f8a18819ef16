"""Which format a file has, from its first bytes; its name is never asked."""

import enum
import zipfile

from etils import epath

from jax_vtm.checkpoints.stored import CheckpointError, damage, listed

_HEAD_BYTES = 512
_EXCERPT_CHARACTERS = 160
# The largest header that the safetensors library accepts; an index is smaller than its parts' headers.
MAX_HEADER_BYTES = 100_000_000


class Format(enum.Enum):
    """The file formats that can be read."""

    MSGPACK = "flax msgpack"
    SAFETENSORS = "safetensors"
    NPZ = "npz"
    TORCH = "PyTorch"
    INDEX = "an index of tensor files"


def recognise(path: epath.Path) -> Format:
    """Recognises the format of an existing file from its content.

    Raises:
        CheckpointError: The file is empty, is a web page or another text, is a damaged zip archive, or is of
            no known format.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if not head:
        raise CheckpointError(f"{path}: the file is empty (0 bytes). Download it again.")
    if head.startswith(b"PK"):
        return _recognise_zip(path)
    if _is_safetensors(head):
        return Format.SAFETENSORS
    # Pickle's protocol byte is also msgpack's empty map, but nothing follows an empty map.
    if head[0] == 0x80 and len(head) > 1 and 2 <= head[1] <= 5:
        return Format.TORCH
    if is_index(path):
        return Format.INDEX
    if 0x80 <= head[0] <= 0x8F or head[0] in (0xDE, 0xDF):  # the three ways in which msgpack starts a map
        return Format.MSGPACK
    text = head.decode("utf-8-sig", errors="replace").strip()
    excerpt = " ".join(text[:_EXCERPT_CHARACTERS].split())
    if text.startswith("<"):
        raise CheckpointError(
            f"{path}: an HTML or XML page, not a checkpoint; probably the error page of a failed download. "
            f"It starts with: {excerpt}"
        )
    if text.startswith("version https://git-lfs"):
        raise CheckpointError(
            f"{path}: a Git LFS pointer, not the checkpoint itself. Fetch the file with `git lfs pull`."
        )
    if text and "\ufffd" not in text[:64] and text[:64].isprintable():
        raise CheckpointError(f"{path}: a text file, not a checkpoint. It starts with: {excerpt}")
    raise CheckpointError(
        f"{path}: not a known checkpoint format: the file starts with {head[:16]!r}. Known are flax msgpack "
        "(Scenic), orbax directories, safetensors, npz and PyTorch files."
    )


def is_index(path: epath.Path) -> bool:
    """Says whether a file is an index of tensor files: JSON with a `weight_map`."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
        if _is_safetensors(head) or not head.lstrip().startswith(b"{"):
            return False
        return b'"weight_map"' in head + file.read(MAX_HEADER_BYTES)


def _is_safetensors(head: bytes) -> bool:
    # Eight bytes for the length of a header, then the header, which is JSON.
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= MAX_HEADER_BYTES


def _recognise_zip(path: epath.Path) -> Format:
    size = path.stat().length
    problem = f"a zip archive (npz or PyTorch) that is truncated or damaged; it has {size:,} bytes, download it again"
    with damage(path, problem), path.open("rb") as file, zipfile.ZipFile(file) as archive:
        names = archive.namelist()
    if any(name.endswith("data.pkl") for name in names):
        return Format.TORCH
    if names and all(name.endswith(".npy") for name in names):
        return Format.NPZ
    first = listed(names, 5) or "none"
    raise CheckpointError(f"{path}: a zip archive that is neither npz nor PyTorch; its first entries: {first}.")
