"""Downloads checkpoints into a cache, and resumes downloads."""

import base64
import functools
import hashlib
import http.client
import os
import pathlib
import re
import sys
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from jax_vtm.checkpoints.stored import CheckpointError
from jax_vtm.errors import UserError
from jax_vtm.files import cache_folder, write_text, writing
from jax_vtm.lock import held
from jax_vtm.models.releases import RELEASES

WEB = ("https://", "http://")
_GOOGLE = "https://storage.googleapis.com/"
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_BLOCK_BYTES = 1 << 20
_SILENCE_S = 60.0


def web_address(name: str) -> str:
    """Returns the URL of `gs://bucket/file`, which needs no credentials if the bucket is public."""
    return _GOOGLE + urllib.parse.quote(name.removeprefix("gs://")) if name.startswith("gs://") else name


def downloaded(url: str) -> pathlib.Path:
    """Returns the cached file of a URL, and downloads it first if needed.

    The file appears when it is complete, with its digest in `<name>.sha256`, which `load_checkpoint` checks. A stopped
    download resumes if the server still has the same file.

    Raises:
        CheckpointError: The server refuses, the download ended early, or its checksum is wrong.
        UserError: The file cannot be written.
    """
    path = _place(url)
    if not path.exists():
        with held(path.with_name(f"{path.name}.lock"), "another process downloads it. Wait for it, and try again."):
            _download(url, path)
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            write_text(path.with_name(f"{path.name}.sha256"), f"{digest}  {path.name}\n")
    release = next((found for found in RELEASES.values() if found.url == url), None)
    origin = f", released by {release.by}, whose repository is {release.licence}" if release else ""
    _print_once(f"checkpoint: {url}{origin}; it is kept in {path}")
    return path


@functools.cache
def _print_once(text: str) -> None:
    print(text, file=sys.stderr)


def from_hub(name: str) -> pathlib.Path | None:
    """Returns the folder of a model on Hugging Face's hub, `owner/model`; None if the name is no such.

    Raises:
        CheckpointError: huggingface_hub is not installed, or has no such model.
    """
    return None if not _HUB_NAME.fullmatch(name) or pathlib.Path(name).parent.exists() else _hub_folder(name)


@functools.cache
def _hub_folder(name: str) -> pathlib.Path:
    try:
        import huggingface_hub  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise CheckpointError(
            f"{name}: no such file or directory. If it is a model on Hugging Face's hub, run `pip install "
            "huggingface_hub`, or download its folder and give that."
        ) from error
    wanted = ["config.json", "*.safetensors", "*.safetensors.index.json"]
    try:
        folder = pathlib.Path(huggingface_hub.snapshot_download(name, allow_patterns=wanted))
        if not any(folder.glob("*.safetensors")):
            folder = pathlib.Path(huggingface_hub.snapshot_download(name, allow_patterns=[*wanted, "pytorch_model*"]))
    except Exception as error:  # of the library, or of its HTTP client
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(
            f"{name}: no such file or directory, and no model on Hugging Face's hub either "
            f"({type(error).__name__}: {reason})."
        ) from error
    _print_once(f"checkpoint: https://huggingface.co/{name}, whose page has its licence; it is kept in {folder}")
    return folder


def _place(url: str) -> pathlib.Path:
    """Returns a file's path in the cache: the host, then the path of the URL."""
    address = urllib.parse.urlsplit(url)
    if address.hostname == "drive.google.com":
        raise CheckpointError(
            f"{url}: Google Drive serves large files to browsers only. Download it in one, and give the file with "
            "--config.checkpoint=FILE."
        )
    parts = [part for part in urllib.parse.unquote(address.path).split("/") if part not in ("", ".", "..")]
    if not address.hostname or not parts:
        raise CheckpointError(f"{url}: is no URL of a file.")
    if address.query not in ("", "dl=1"):
        # A query may choose the file; Dropbox's "dl=1" does not.
        parts[-1] = f"{hashlib.sha256(address.query.encode()).hexdigest()[:8]}-{parts[-1]}"
    return cache_folder().joinpath("checkpoints", address.netloc.replace(":", "_"), *parts)


def _download(url: str, path: pathlib.Path) -> None:
    partial, version = (path.with_name(f"{path.name}.{ending}") for ending in ("partial", "version"))
    headers = {"User-Agent": "jax_vtm", "Accept-Encoding": "identity"}
    if partial.exists() and version.exists() and (tag := version.read_text("utf-8")):
        # If the file has changed, the server sends all of it.
        headers |= {"Range": f"bytes={partial.stat().st_size}-", "If-Range": tag}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=_SILENCE_S) as answer:
            _receive(url, answer, partial, version)
        partial.replace(path)
        version.unlink(missing_ok=True)
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and "Range" in headers:
            partial.unlink()
            return _download(url, path)
        raise CheckpointError(f"{url}: the server answers {error.code} {error.reason}.") from error
    except UserError:
        raise
    except (OSError, http.client.HTTPException) as error:
        size = partial.stat().st_size if partial.exists() else 0
        kept = f" {size:,} bytes are kept; the same command resumes the download." if size else ""
        raise CheckpointError(
            f"{url}: cannot be downloaded: {getattr(error, 'reason', None) or error}.{kept} Or download it elsewhere, "
            "and give the file with --config.checkpoint=FILE."
        ) from error


def _receive(url: str, answer: Any, partial: pathlib.Path, version: pathlib.Path) -> None:
    """Appends the data to the partial file, and checks its size and the server's MD5."""
    from tqdm import tqdm

    if answer.headers.get_content_type() == "text/html":
        raise CheckpointError(f"{url}: is a web page, no checkpoint; give the URL of the file itself.")
    goes_on = answer.status == http.HTTPStatus.PARTIAL_CONTENT
    begin = partial.stat().st_size if goes_on else 0
    if goes_on and not answer.headers.get("Content-Range", "").startswith(f"bytes {begin}-"):
        partial.unlink()
        raise CheckpointError(f"{url}: the server sends another part of the file than requested. Try again.")
    length = answer.headers.get("Content-Length")
    total = begin + int(length) if length else None
    with writing(partial):
        if not goes_on:
            tag = answer.headers.get("ETag", "")
            # A weak tag does not promise the same bytes.
            write_text(version, tag if tag and not tag.startswith("W/") else answer.headers.get("Last-Modified", ""))
        file = partial.open("ab" if goes_on else "wb")
    name = partial.name.removesuffix(".partial")
    with file, tqdm(total=total, initial=begin, unit="B", unit_scale=True, desc=name, disable=None) as bar:
        if bar.disable:
            print(f"downloading {url}{f', {total / 1e6:,.0f} MB' if total else ''}", file=sys.stderr)
        while block := answer.read(_BLOCK_BYTES):
            with writing(partial):
                file.write(block)
            bar.update(len(block))
        file.flush()
        os.fsync(file.fileno())
    size = partial.stat().st_size
    if total is not None and size != total:
        raise CheckpointError(
            f"{url}: the download ended after {size:,} of {total:,} bytes. The same command resumes it."
        )
    stated = re.search(r"md5=([\w+/=]+)", answer.headers.get("x-goog-hash", ""))
    if stated:
        with partial.open("rb") as file:
            found = hashlib.file_digest(file, "md5").digest()
        if base64.b64encode(found).decode() != stated[1]:
            partial.unlink()
            raise CheckpointError(f"{url}: was damaged: its MD5 is not the server's. Download it again.")
