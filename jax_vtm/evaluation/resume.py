"""Finished batches on a disk or in a bucket, so that an evaluation which was stopped, however, goes on where it was.

The folder holds `run.json`, which says what the predictions depend on, and for each batch a `.npz` of predictions and
a `.json` of what was measured. A batch of which both are listed is done, whichever process wrote it and however the
batches were cut. Each `.npz` names the evaluation that it is of, and has the same name and bytes in every process: two
runs that are at work in one folder, where no lock keeps the second out, can do work twice but never mix results.
"""

import collections
import contextlib
import hashlib
import itertools
import json
import os
import secrets
import sys
import time
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from jax_vtm.bucket import is_bucket
from jax_vtm.errors import UserError, shown
from jax_vtm.evaluation.batch_result import BatchResult, pack_result, unpack_result
from jax_vtm.evaluation.processes import Processes, differences
from jax_vtm.files import AnyPath, found, read_files, remove_leftovers, set_aside, write_files, write_new, writing
from jax_vtm.lock import held

_RUN = "run.json"
_BATCHES = ("*-*-*.npz", "*-*-*.json")

# Batches that wait for storage while devices go on; and seconds between looks at what other processes have written.
_WAITING, _LOOK_EVERY_S = 4, 5.0

_NEW = "give another --workdir, or --config.restart=True to start anew"


class ResumeState:
    """What is finished of an evaluation. Use it as a context, which at its end waits until all is written.

    Args:
        folder: Where the files are; made if it does not exist.
        fingerprint: Everything that the predictions depend on, by name: plain values, lists and mappings.
        restart: Begins anew. What there was is kept in a folder of the same name and ".old", in place of what an
            earlier restart left there.
        begun_by: For other processes than the first: the `id` that process 0 has. A folder of that id is shared, and
            process 0 has set aside what there was, and keeps other runs out.
        names: What `listing` has said of the folder, if it was asked.

    Attributes:
        id: Of the folder, another one whenever it begins anew.
        results: The finished batches that were there, in the order in which they were done.
        seen: Names of the batches' files, as of a few seconds ago.

    Raises:
        UserError: The folder is of another evaluation or another version, cannot be used, or another run is at work.
    """

    def __init__(
        self,
        folder: AnyPath,
        fingerprint: Mapping[str, Any],
        *,
        restart: bool = False,
        begun_by: str | None = None,
        names: set[str] | None = None,
    ):
        self._folder = folder
        plain = json.loads(json.dumps(fingerprint))
        self._digest = hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
        self._pending: collections.deque[Future[None]] = collections.deque()
        self._known: dict[str, BatchResult] = {}
        with contextlib.ExitStack() as lock:
            if begun_by is None:
                lock.enter_context(held(folder.with_name(f".{folder.name}.lock")))
            self.results: list[BatchResult] = []
            with writing(folder):
                self.id = self._begin(plain, restart, begun_by, names)
            self._lock = lock.pop_all()
        self.seen, self._looked = {*self._known}, time.monotonic()
        self._threads = ThreadPoolExecutor(_WAITING, thread_name_prefix="finished batches")

    @property
    def done(self) -> set[int]:
        """Numbers of the videos that had predictions."""
        return {index for result in self.results for index in result.indices.tolist()}

    @property
    def failed(self) -> set[int]:
        """Numbers of the videos that could not be read; they may have been repaired since."""
        return {index for result in self.results for index in result.failures} - self.done

    @property
    def known(self) -> list[BatchResult]:
        """The batches that were read or added, in the order in which they were done."""
        return sorted(self._known.values(), key=lambda result: result.finished)

    def add(self, result: BatchResult) -> None:
        """Gives a batch to threads that write it; waits if several are still to be written, raises if one was not."""
        while self._pending and (len(self._pending) >= _WAITING or self._pending[0].done()):
            self._pending.popleft().result()
        self._known[_name(result)] = result
        self._pending.append(self._threads.submit(self._write, result))

    def write_too(self, path: AnyPath, content: bytes) -> None:
        """Gives these threads another file to write."""
        self._pending.append(self._threads.submit(write_files, {path: content}))

    def flush(self) -> None:
        """Waits until all is written; raises a UserError if something could not be, or the folder has gone."""
        while self._pending:
            self._pending.popleft().result()
        self._check_here()

    def read(self, listed: set[str] | None = None) -> list[BatchResult]:
        """Reads all batches that there are, or those listed; says which files are damaged, and removes these."""
        listed = self.listed() if listed is None else listed
        new = sorted(listed - self._known.keys())
        for name, *contents in zip(new, *self.contents(new), strict=True):
            try:
                self._known[name] = self._unpacked(name, *contents)
            # Bytes that are not those that were written can lead anywhere in the readers of zip, npy and JSON.
            except Exception as error:
                reason = f"damaged ({shown(error)}); its videos are evaluated again"
                print(f"warning: {shown(self._folder / name)}: {reason}.", file=sys.stderr)
                write_files({self._folder / name: None})
        self._known = {name: result for name, result in self._known.items() if name in listed}
        return self.known

    def listed(self) -> set[str]:
        """Names of the batches' files of predictions."""
        return _complete(_files(self._folder))

    def contents(self, names: Sequence[str]) -> tuple[list[bytes | None], list[bytes | None]]:
        """Reads batches' predictions, and what was measured."""
        paths = [self._folder / name for name in names]
        both = read_files([*paths, *(path.with_suffix(".json") for path in paths)])
        return both[: len(names)], both[len(names) :]

    def write(self, name: str, predictions: bytes, measured: bytes) -> None:
        """Writes a batch."""
        path = self._folder / name
        write_files({path.with_suffix(".json"): measured, path: predictions})

    def __enter__(self) -> "ResumeState":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._lock, self._threads, contextlib.suppress(UserError) if kind else contextlib.nullcontext():
            if self._pending:
                self.flush()

    def _begin(
        self, fingerprint: Mapping[str, Any], restart: bool, begun_by: str | None, names: set[str] | None = None
    ) -> str:
        run, names = None, _files(self._folder) if names is None else names
        with contextlib.suppress(UserError) if restart else contextlib.nullcontext():
            run = _read_run(self._folder) if _RUN in names else None
        if restart and not (run and run["id"] == begun_by):
            if _complete(names):
                set_aside(self._folder)
            # Otherwise there is nothing to keep, but perhaps an older folder that should not make room for nothing.
            elif _RUN in names:
                write_files({self._folder / _RUN: None})
            run, names = None, set()
        if begun_by is None:
            remove_leftovers(self._folder)
        if run is not None:
            if changed := differences(run["fingerprint"], fingerprint, "was {}, is {}"):
                raise UserError(
                    "\n".join([f"{self._folder}: the predictions there are of another evaluation:", *changed])
                    + "\nGive another --workdir, or --config.restart=True to start anew (the old predictions are then "
                    f"kept in {self._folder.name}.old)."
                )
            self.results = self.read(_complete(names))
            return run["id"]
        if _complete(names):
            raise UserError(f"{self._folder / _RUN}: is missing; nothing says what the batches there are of; {_NEW}.")
        journal = self._folder.with_name("journal")
        if os.path.exists(journal) and not restart:
            raise UserError(
                f"{journal}: an earlier version of jax_vtm left predictions there, in a form that this one does not "
                f"read. Go on with that version, {_NEW}."
            )
        run = {"id": secrets.token_hex(8), "fingerprint": fingerprint}
        if write_new(self._folder / _RUN, json.dumps(run, indent=2).encode()):
            return run["id"]
        return self._begin(fingerprint, False, begun_by)

    def _check_here(self) -> None:
        run = None
        with contextlib.suppress(UserError):
            run = _read_run(self._folder)
        if run is None or run["id"] != self.id:
            raise UserError(
                f"{self._folder}: was removed or renamed while this run was at work. Give the same command again: it "
                "goes on from what is there."
            )

    def _write(self, result: BatchResult) -> None:
        look = time.monotonic() - self._looked > _LOOK_EVERY_S
        # A look at a disk costs nothing; in a bucket a batch says itself what it is of.
        if look or not is_bucket(self._folder):
            self._check_here()
        try:
            self.write(_name(result), *pack_result(result, self._digest))
        except UserError:
            self._check_here()
            raise
        if look:
            self._looked = time.monotonic()
            self.seen = self.listed()

    def _unpacked(self, name: str, predictions: bytes | None, measured: bytes | None) -> BatchResult:
        result, digest = unpack_result(predictions or b"", measured or b"")
        if name != _name(result) or digest != self._digest:
            raise ValueError("it is of another batch or another evaluation")
        return result


def listing(folder: AnyPath) -> set[str] | None:
    """Lists a folder of a bucket before anything else is known of the run; None of one on a disk, which has a lock.

    A run that begins there in between is met when this one writes that it has begun.
    """
    return _files(folder) if is_bucket(folder) else None


def _files(folder: AnyPath) -> set[str]:
    return {path.name for path in found(folder, _RUN, *_BATCHES)}


def read_fingerprint(folder: AnyPath) -> dict[str, Any] | None:
    """Reads what the predictions in a folder depend on; None if nothing has begun there, or if nothing says it."""
    with contextlib.suppress(UserError):
        return (_read_run(folder) or {}).get("fingerprint")
    return None


def finished(processes: Processes, state: ResumeState) -> tuple[set[int], set[int]]:
    """Returns, in all processes, the numbers of the videos that have predictions, and of those that could not be read.

    It makes no difference whether the processes share a folder or each has one of its own.
    """
    theirs = processes.exchange([sorted(state.done), sorted(state.failed)])
    done = {index for read, _ in theirs for index in read}
    return done, {index for _, failed in theirs for index in failed} - done


def gather_results(processes: Processes, state: ResumeState) -> list[BatchResult]:
    """Returns, in process 0, the finished batches of all processes; copies those that are not in its folder there.

    A process that is alone has them all: what it writes of them may still be under way, until `flush`.
    """
    if processes.count == 1:
        return state.known
    state.flush()
    files = processes.exchange(sorted(state.listed()))
    known = {*files[0]}
    missing = []
    for theirs in files:
        missing.append([name for name in theirs if name not in known])
        known.update(theirs)
    # One batch of every process at a time.
    for round_ in itertools.zip_longest(*missing):
        own = round_[processes.index]
        contents = processes.exchange(state.contents([own]) if own else None)
        for name, content in zip(round_, contents, strict=True):
            if name and processes.is_first:
                (predictions,), (measured,) = content
                state.write(name, predictions, measured)
    return state.read() if processes.is_first else []


def _read_run(folder: AnyPath) -> dict[str, Any] | None:
    path = folder / _RUN
    (content,) = read_files([path])
    if content is None:
        return None
    try:
        run = json.loads(content)
        if isinstance(run["id"], str) and isinstance(run["fingerprint"], dict):
            return run
    except (ValueError, LookupError, TypeError, RecursionError):
        pass
    raise UserError(f"{path}: is damaged, so that nothing says what the batches there are of; {_NEW}.")


def _complete(names: set[str]) -> set[str]:
    """Names of the batches of which both files are there."""
    return {name for name in names if name.endswith(".npz") and f"{name.removesuffix('npz')}json" in names}


def _name(result: BatchResult) -> str:
    """Names a batch by its videos: the first, the last, how many, and which of them could be read."""
    videos = sorted([*result.indices.tolist(), *result.failures])
    which = zlib.crc32(json.dumps([result.indices.tolist(), sorted(result.failures)]).encode())
    return f"{videos[0]:07d}-{videos[-1]:07d}-{len(videos)}-{which:08x}.npz"


def videos_in(name: str) -> int:
    """How many videos the file of a batch has, by its name."""
    return int(name.split("-")[2])
