"""One measurement of `benchmark_scaling`, in processes whose number of devices their environment has settled."""

import json
import sys
import time
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from jax_vtm.data import Batch
from jax_vtm.evaluation import BatchResult, Candidate, Evaluation, Processes, connect, evaluate, gather_results
from jax_vtm.merging import Reduction
from jax_vtm.models import VideoClassifier, create_model

TIMEOUT_S = 300.0
CLIPS = {"num_classes": 10, "image_size": 32, "num_frames": 8}


def main(backend: str, steps: int, coordinator: str, count: int, index: int) -> None:
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
        outcomes: list[BatchResult] = []
        evaluation = evaluate(
            [_candidate(model)],
            batches(model, steps),
            backend=backend,
            on_batch=lambda outcome, counts: outcomes.append(outcome),
        )
        return evaluation, outcomes

    with Processes(TIMEOUT_S, lambda error: 1) as processes:
        # The first step compiles; it is not one of those that are timed, but in the time of the whole.
        run(empty, 2)
        processes.from_first("start", True)
        nothing, outcomes = run(empty, steps)
        something, _ = run(vivit, steps)
        step_s = float(np.median(something.predictions["model"].step_s))
        processes.from_first("end", True)
        start = time.perf_counter()
        together = list(gather_results(processes, outcomes))
        together_s = time.perf_counter() - start
    if index == 0:
        assert len(together) == count * steps
        measured = {
            "empty_step_ms": 1e3 * float(np.median(nothing.predictions["model"].step_s)),
            "empty_batch_ms": 1e3 * nothing.wall_s / steps,
            "vivit_step_ms": 1e3 * step_s,
            "vivit_clips_per_s": count * jax.local_device_count() / step_s,
            "together_ms": 1e3 * together_s,
        }
        print(json.dumps(measured))


def _candidate(model: VideoClassifier) -> Candidate:
    return Candidate("model", model, model.init(jax.random.key(0), jnp.zeros((1, *model.input_shape)))["params"])


def batches(model: VideoClassifier, count: int) -> Iterator[Batch]:
    """Yields batches of one random clip per device."""
    size = jax.local_device_count()
    rng = np.random.default_rng(0)
    for number in range(count):
        first = number * size
        yield Batch(
            frames=rng.integers(0, 256, (size, 1, *model.input_shape), np.uint8),
            mask=np.ones(size, bool),
            labels={"label": rng.integers(10, size=size, dtype=np.int32)},
            ids=tuple(f"{first + place}" for place in range(size)),
            indices=np.arange(first, first + size, dtype=np.int32),
            failures=(),
        )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
