"""What an evaluation yields: batch by batch while it runs, and all batches concatenated at the end."""

import dataclasses
import hashlib
import io
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Int, Int32

from jax_vtm.data import Failure


@dataclasses.dataclass(frozen=True)
class BatchResult:
    """Everything that one batch contributes, and all that has to be kept to continue after a stop.

    Attributes:
        indices: Numbers in the source of the videos that could be read, `n` of them.
        ids: Their ids.
        labels: Their classes, per labelled head.
        failures: The videos that could not be read, by their numbers in the source.
        logits: Per variant's name and head, per view.
        step_s: Seconds of each variant's step; empty if there was nothing to do.
        compile_s: Seconds of the first call of those variants that were compiled for this batch.
        wall_s: Seconds since the batch before was done, compiling excluded.
        data_wait_s: That part of it in which the devices waited for data.
        batch_size: Places of the batch, over all devices.
        devices: How many devices of which kind ran it.
        finished: When it was done, in seconds since 1970.
        details: What a study has of these videos, along the first axis.
    """

    indices: Int32[np.ndarray, " n"]
    ids: tuple[str, ...]
    labels: Mapping[str, Int32[np.ndarray, " n"]]
    failures: Mapping[int, Failure]
    logits: Mapping[str, Mapping[str, Float32[np.ndarray, "n V _"]]]
    step_s: Mapping[str, float]
    compile_s: Mapping[str, float]
    wall_s: float
    data_wait_s: float
    batch_size: int
    devices: str
    finished: float = dataclasses.field(default_factory=time.time)
    details: Mapping[tuple[str, ...], np.ndarray] = dataclasses.field(default_factory=dict)

    @property
    def num_videos(self) -> int:
        """Videos of the batch, failed ones too."""
        return len(self.indices) + len(self.failures)


@dataclasses.dataclass
class Predictions:
    """What one variant says of every video that could be read.

    Attributes:
        logits: Per head, per view.
        compile_s: Seconds of the first call, which compiles.
        step_s: Seconds of every further step.
    """

    logits: dict[str, Float[np.ndarray, "n V _"]]
    compile_s: float
    step_s: list[float]


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The result of one pass over the videos, in one go or in several.

    Attributes:
        ids: Videos that could be read, in the source's order.
        indices: Their numbers in the source.
        labels: Per labelled head.
        predictions: Per variant's name.
        failures: Videos that could not be read, with the reason, in the source's order.
        batch_size: Videos per step, over all devices of a process, in the steps that `step_s` times; 0 if no video
            could be read.
        views: Views per video; 0 if no video could be read.
        wall_s: Seconds of the whole pass, decoding included, compiling excluded; those of all processes together.
        data_wait_s: Seconds of it in which the devices waited for data.
    """

    ids: list[str]
    indices: Int[np.ndarray, " n"]
    labels: dict[str, Int[np.ndarray, " n"]]
    predictions: dict[str, Predictions]
    failures: list[Failure]
    batch_size: int
    views: int
    wall_s: float
    data_wait_s: float

    @property
    def device_wait_share(self) -> float:
        """The share of the time in which the devices waited for data."""
        return self.data_wait_s / self.wall_s if self.wall_s else 0.0


_MEASURED = ("step_s", "compile_s", "wall_s", "data_wait_s", "batch_size", "devices", "finished")


def pack_result(result: BatchResult, evaluation: str) -> tuple[bytes, bytes]:
    """Makes two files of a batch.

    Returns:
        A `.npz` with the name of its evaluation, which has the same bytes in whatever process; and JSON of what was
        measured, and of the digest of the first.
    """
    logits = [(name, head) for name, heads in result.logits.items() for head in heads]
    record = {
        "of": evaluation,
        "ids": result.ids,
        "failures": [[index, failure.id, failure.reason] for index, failure in result.failures.items()],
        "labels": list(result.labels),
        "logits": logits,
        "details": list(result.details),
    }
    arrays: dict[str, Any] = {"record": np.frombuffer(json.dumps(record).encode(), np.uint8)}
    arrays |= {f"labels{number}": values for number, values in enumerate(result.labels.values())}
    arrays |= {f"logits{number}": result.logits[name][head] for number, (name, head) in enumerate(logits)}
    arrays |= {f"details{number}": values for number, values in enumerate(result.details.values())}
    file = io.BytesIO()
    np.savez(file, indices=result.indices, **arrays)
    measured = {name: getattr(result, name) for name in _MEASURED}
    measured["sha256"] = hashlib.sha256(file.getvalue()).hexdigest()
    return file.getvalue(), json.dumps(measured).encode()


def unpack_result(content: bytes, measured: bytes) -> tuple[BatchResult, str]:
    """Returns the batch and the name of its evaluation. Damaged bytes may raise anything."""
    timed = json.loads(measured)
    # Before anything is made of the bytes.
    if hashlib.sha256(content).hexdigest() != timed["sha256"]:
        raise ValueError(f"{len(content)} bytes, whose SHA-256 is not the one that was written down")
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        record = json.loads(arrays["record"].tobytes())
        logits: dict[str, dict[str, np.ndarray]] = {}
        for number, (name, head) in enumerate(record["logits"]):
            logits.setdefault(name, {})[head] = arrays[f"logits{number}"]
        result = BatchResult(
            indices=arrays["indices"],
            ids=tuple(record["ids"]),
            labels={head: arrays[f"labels{number}"] for number, head in enumerate(record["labels"])},
            failures={index: Failure(video, reason) for index, video, reason in record["failures"]},
            logits=logits,
            details={tuple(key): arrays[f"details{number}"] for number, key in enumerate(record["details"])},
            **{name: timed[name] for name in _MEASURED},
        )
    return result, record["of"]


def concatenate(names: Sequence[str], results: Sequence[BatchResult]) -> Evaluation:
    """Joins the results of batches into that of the whole.

    Args:
        names: The variants' names.
        results: In the order in which they came. Of a video that is in several, the first reading counts; a failure
            counts, the last one, if no batch could read the video.
    """
    read = [result for result in results if len(result.indices)]
    indices, order = np.unique(
        np.concatenate([result.indices for result in read] or [np.zeros(0, np.int32)]), return_index=True
    )
    ids = [video for result in read for video in result.ids]

    def joined(parts: Iterable[np.ndarray]) -> np.ndarray:
        return np.concatenate(list(parts))[order]

    failures = {number: failure for result in results for number, failure in result.failures.items()}
    labelled = tuple(read[0].labels) if read else ()
    timed = _comparable(results)
    predictions = {}
    for name in names:
        heads = tuple(read[0].logits[name]) if read else ()
        predictions[name] = Predictions(
            logits={head: joined(result.logits[name][head] for result in read) for head in heads},
            compile_s=next((result.compile_s[name] for result in reversed(timed) if name in result.compile_s), 0.0),
            step_s=[result.step_s[name] for result in timed],
        )
    return Evaluation(
        ids=[ids[place] for place in order],
        indices=indices,
        labels={head: joined(result.labels[head] for result in read) for head in labelled},
        predictions=predictions,
        failures=[failures[number] for number in sorted(failures.keys() - set(indices.tolist()))],
        batch_size=timed[-1].batch_size if timed else 0,
        views=next((values.shape[1] for one in read for heads in one.logits.values() for values in heads.values()), 0),
        wall_s=sum(result.wall_s for result in results),
        data_wait_s=sum(result.data_wait_s for result in results),
    )


def _comparable(results: Sequence[BatchResult]) -> list[BatchResult]:
    """Those whose steps compare: of the same size and on the same devices as the last one, where steps were timed."""
    timed = [result for result in results if result.step_s]
    return [one for one in timed if (one.batch_size, one.devices) == (timed[-1].batch_size, timed[-1].devices)]
