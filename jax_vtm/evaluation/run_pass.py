"""One pass over the videos: several models, from where earlier starts have left off, to predictions of all videos."""

import itertools
import sys
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jax_vtm.config import Config
from jax_vtm.data import ClipProtocol, VideoSource, batches
from jax_vtm.errors import SUCCESS, TOO_MANY_FAILED, UserError
from jax_vtm.evaluation import build
from jax_vtm.evaluation.batch_result import BatchResult, Evaluation, concatenate
from jax_vtm.evaluation.data_parallel import DataParallel
from jax_vtm.evaluation.evaluator import Variant, evaluate
from jax_vtm.evaluation.processes import Processes
from jax_vtm.evaluation.progress import EvaluationProgress, waiting
from jax_vtm.evaluation.resume import ResumeState, finished, gather_results
from jax_vtm.files import AnyPath, atomic_write


def run_pass(
    config: Config,
    variants: Sequence[Variant],
    source: VideoSource,
    protocol: ClipProtocol,
    state: ResumeState,
    processes: Processes,
) -> Evaluation | None:
    """Evaluates what no process has finished yet, and at the end tries again what could not be read.

    Says on standard error how far it is.

    Args:
        config: Says batches, seed and backend.
        variants: They run on the same batches; the first one's shapes decide the batch size.
        source: The videos.
        protocol: How they become views.
        state: This process's, to which every batch is added.
        processes: Those that share the videos.

    Returns:
        All of it, in process 0.

    Raises:
        UserError: Something does not fit; finished batches are kept.
        Stopped: The process was told to end.
    """
    done, failed = finished(processes, state)
    new = [index for index in range(len(source)) if index not in done and index not in failed]
    if processes.is_first:
        _say_what_is_done(len(done), len(failed), len(new))
    processes.check_stop()
    with processes.unwatched(), waiting("finding the batch size"):
        batch_size = build.videos_per_device(config, variants[0], protocol) * jax.local_device_count()
    loaded = (
        batches(
            source,
            protocol,
            batch_size,
            indices=indices,
            shard_index=processes.index,
            shard_count=processes.count,
            num_threads=config.data.num_threads,
            num_workers=config.data.num_workers,
            prefetch=2 * batch_size,
        )
        for indices in (new, sorted(failed))
    )

    def on_batch(result: BatchResult) -> None:
        state.add(result)
        progress.add(result)
        processes.doing(f"evaluating more after {progress.videos} of its videos")
        processes.check_stop()

    with EvaluationProgress(processes, state, len(source), len(done), protocol) as progress:
        processes.doing("evaluating its first videos")
        evaluate(
            variants,
            itertools.chain.from_iterable(loaded),
            random_seed=config.seed,
            mean=protocol.mean,
            std=protocol.std,
            clips_at_once=config.data.clips_at_once,
            parallel=DataParallel(config.backend),
            compiling=progress.compiling,
            on_batch=on_batch,
        )
        results = gather_results(processes, state)
        if not processes.is_first:
            return None
        progress.finish(results)
    evaluation = concatenate([variant.name for variant in variants], results)
    missing = len(source) - len(evaluation.ids) - len(evaluation.failures)
    if missing:
        raise UserError(
            f"{missing} videos that were evaluated are no longer in the folder, or damaged. Give the same command "
            "again: it evaluates them again."
        )
    return evaluation


def _say_what_is_done(done: int, failed: int, new: int) -> None:
    """Says on standard error what earlier starts have left."""
    again = f"{failed} that could not be read {'are' if failed > 1 else 'is'} tried again" if failed else ""
    if done and not new and not failed:
        print(
            f"all {done} videos are evaluated already; here are the results again. --config.restart=True starts anew.",
            file=sys.stderr,
        )
    elif done or failed:
        parts = [f"{done} videos are evaluated already", f"{new} are to do", *([again] if again else [])]
        print(f"continuing: {', '.join(parts)}", file=sys.stderr)


def check_readable(evaluation: Evaluation, source: VideoSource) -> None:
    """Makes sure that there is something to count.

    Raises:
        UserError: No video could be read.
    """
    if not evaluation.ids:
        first = evaluation.failures[0]
        raise UserError(f"none of the {len(source)} videos could be read; the first is {first.id}: {first.reason}")


def write_predictions(path: AnyPath, evaluation: Evaluation) -> None:
    """Writes ids, labels and every variant's logits per head and view as a `.npz`."""
    arrays: dict[str, Any] = {"ids": np.array(evaluation.ids)}
    arrays |= {f"labels/{head}": values for head, values in evaluation.labels.items()}
    for name, prediction in evaluation.predictions.items():
        arrays |= {f"{name}/logits/{head}": values for head, values in prediction.logits.items()}
    with atomic_write(path) as file:
        np.savez(file, **arrays)


def code_of_failures(failed: int, allowed: int, who_names_them: str) -> int:
    """Returns the exit code of a run of which some videos could not be read; says so if these are too many.

    Args:
        failed: Videos that could not be read.
        allowed: `data.max_failures`.
        who_names_them: Such as "the report".
    """
    if failed <= allowed:
        return SUCCESS
    print(
        f"error: {failed} video{'s' if failed > 1 else ''} failed, more than data.max_failures = {allowed}; "
        f"{who_names_them} names them.",
        file=sys.stderr,
    )
    return TOO_MANY_FAILED
