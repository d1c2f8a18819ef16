"""What data-parallel steps cost by themselves, on simulated devices and in processes (`benchmark.what=scaling`).

One model looks at a single token, so that a step is little else than handing arrays to devices and adding counts up.
Another, a small ViViT that merges, shows the same where there is something to do. All simulated devices share the
machine's cores: with more of them nothing becomes faster than the cores are. Processes have a device each and do not
wait for each other until they are done; what they then cost is to bring their predictions together,
through files as an evaluation does.

Every number of devices and processes is measured in processes of its own, which run this file as a program.
"""

import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from jax_vtm.benchmarks.inputs import random_params
from jax_vtm.benchmarks.report import Report, Row
from jax_vtm.config import Config
from jax_vtm.data import Batch
from jax_vtm.errors import UserError
from jax_vtm.evaluation import (
    BatchResult,
    Evaluation,
    Processes,
    ResumeState,
    Variant,
    connect,
    evaluate,
    gather_results,
)
from jax_vtm.evaluation.data_parallel import DataParallel
from jax_vtm.files import AnyPath
from jax_vtm.merging import Reduction
from jax_vtm.models import VideoClassifier, create_model
from jax_vtm.reports import Column
from jax_vtm.reports.formatting import number

DEVICES = (1, 2, 4, 8)
PROCESSES = (2, 4, 8)
BACKENDS = ("pmap", "shard_map")
STEPS = 200
SECONDS = 600
CLIPS = {"num_classes": 10, "image_size": 32, "num_frames": 8}


def measure(config: Config, workdir: AnyPath) -> Iterator[dict[str, Any]]:
    """Measures every number of devices and processes, and yields the rows so far; the config is not used."""
    settings = [(1, devices, backend) for devices in DEVICES for backend in BACKENDS]
    settings += [(processes, 1, "pmap") for processes in PROCESSES]
    rows = []
    for processes, devices, backend in settings:
        print(f"measuring {processes} x {devices}, {backend}", file=sys.stderr, flush=True)
        rows.append(_measured(processes, devices, backend))
        yield {"steps": STEPS, "rows": rows, "measured": {}}


def _measured(processes: int, devices: int, backend: str) -> dict[str, Any]:
    # How many devices a CPU pretends to be is settled when JAX starts; with fewer threads than devices they would
    # wait for each other for ever.
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "NPROC": str(2 * max(DEVICES)),
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}",
    }
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        coordinator = f"localhost:{probe.getsockname()[1]}"
    worker = [sys.executable, "-m", "jax_vtm.benchmarks.scaling", backend, str(STEPS), coordinator, str(processes)]
    with tempfile.TemporaryDirectory() as folder:
        said = [pathlib.Path(folder) / f"{index}.txt" for index in range(processes)]
        running = []
        try:
            for index, path in enumerate(said):
                with path.open("w") as file:
                    running.append(
                        subprocess.Popen([*worker, str(index)], env=environment, stdout=file, stderr=subprocess.STDOUT)
                    )
            codes = [process.wait(SECONDS) for process in running]
        finally:
            for process in running:
                process.kill()
        if any(codes):
            text = next(path for path, code in zip(said, codes, strict=True) if code).read_text()
            raise UserError(
                f"measuring {processes} processes of {devices} devices with {backend} failed:\n{text[-2000:]}"
            )
        found = next(line for line in said[0].read_text().splitlines() if line.startswith("{"))
    return {"processes": processes, "devices": devices, "backend": backend, **json.loads(found)}


def worker(backend: str, steps: int, coordinator: str, count: int, index: int) -> None:
    """Evaluates random clips, one per device and step, and prints in process 0 what it took as JSON.

    Args:
        backend: "pmap" or "shard_map".
        steps: Of each process.
        coordinator: HOST:PORT of process 0.
        count: Processes.
        index: Which of them this is.
    """
    if count > 1:
        connect(coordinator, count, index)
    one_token = {"patch_size": (8, 32, 32), "hidden_size": 8, "num_heads": 1, "num_layers": 1, "mlp_dim": 8}
    small = {"patch_size": (2, 8, 8), "hidden_size": 32, "num_heads": 2, "num_layers": 2, "mlp_dim": 128}
    empty = create_model("vivit_b_16x2", **CLIPS, **one_token)
    vivit = create_model("vivit_b_16x2", reduction=Reduction(r=16), **CLIPS, **small)

    def run(model: VideoClassifier, steps: int) -> tuple[Evaluation, list[BatchResult]]:
        found: list[BatchResult] = []
        evaluation = evaluate(
            [Variant("model", model, random_params(model))],
            _batches(model, steps, index),
            parallel=DataParallel(backend),
            on_batch=found.append,
        )
        return evaluation, found

    with (
        Processes(300.0) as processes,
        tempfile.TemporaryDirectory() as folder,
        ResumeState(pathlib.Path(folder) / "resume", {}) as state,
    ):
        # The first step compiles; it is not one of those that are timed, but in the time of the whole.
        run(empty, 2)
        processes.exchange()
        nothing, results = run(empty, steps)
        something, _ = run(vivit, steps)
        step_s = float(np.median(something.predictions["model"].step_s))
        processes.exchange()
        start = time.perf_counter()
        for result in results:
            state.add(result)
        state.flush()
        gathered = gather_results(processes, state)
        gathering_s = time.perf_counter() - start
    if index == 0:
        assert len(gathered) == count * steps
        found = {
            "empty_step_ms": 1e3 * float(np.median(nothing.predictions["model"].step_s)),
            "empty_batch_ms": 1e3 * nothing.wall_s / steps,
            "vivit_step_ms": 1e3 * step_s,
            "vivit_clips_per_s": count * jax.local_device_count() / step_s,
            "gathering_ms": 1e3 * gathering_s,
        }
        print(json.dumps(found))


def _batches(model: VideoClassifier, count: int, process: int) -> Iterator[Batch]:
    """Yields batches of one random clip per device, whose numbers no other process has."""
    size = jax.local_device_count()
    start = process * count * size
    rng = np.random.default_rng(0)
    for first in range(start, start + count * size, size):
        yield Batch(
            frames=rng.integers(0, 256, (size, 1, *model.input_shape), np.uint8),
            mask=np.ones(size, bool),
            labels={"label": rng.integers(10, size=size, dtype=np.int32)},
            ids=tuple(f"{first + place}" for place in range(size)),
            indices=np.arange(first, first + size, dtype=np.int32),
            failures=(),
        )


def _headline(results: Row) -> str:
    first, last = results["rows"][0], results["rows"][-1]
    said = [f"{number(one['empty_batch_ms'])} ms on {one['processes']} x {one['devices']}" for one in (first, last)]
    return f"A batch with nothing to do takes {' and '.join(said)} processes and devices."


REPORT = Report(
    names=(
        Column("processes", "processes", format=str),
        Column("devices", "devices", format=str),
        Column("backend", "backend"),
    ),
    columns={
        "Scaling": (
            Column("empty_step_ms", "empty step", "ms", number),
            Column("empty_batch_ms", "with all around it", "ms", number),
            Column("vivit_step_ms", "ViViT step", "ms", number),
            Column("gathering_ms", "gathering", "ms", number),
            Column("vivit_clips_per_s", "ViViT", "clips/s", number),
        )
    },
    headline=_headline,
)


if __name__ == "__main__":
    worker(sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
