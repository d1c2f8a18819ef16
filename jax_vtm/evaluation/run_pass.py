"""One pass over the videos: several models side by side, from where a journal says that it was, and its predictions."""

import itertools
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jax_vtm.config import Config
from jax_vtm.data import ClipProtocol, VideoSource, batches
from jax_vtm.errors import SUCCESS, TOO_MANY_FAILED, UserError
from jax_vtm.evaluation import (
    BatchResult,
    Candidate,
    Evaluation,
    Journal,
    Processes,
    agree,
    build,
    concatenate,
    evaluate,
    gather_results,
)
from jax_vtm.evaluation.progress import EvaluationProgress
from jax_vtm.files import atomic_write


def run_pass(
    config: Config,
    candidates: Sequence[Candidate],
    source: VideoSource,
    protocol: ClipProtocol,
    journal: Journal,
    processes: Processes,
) -> Evaluation | None:
    """Evaluates what no journal has yet, and at the end tries again what they say could not be read.

    Says on standard error how far it is.

    Args:
        config: Says batches, seed and backend.
        candidates: Run side by side; the first one's shapes decide the batch size.
        source: The videos.
        protocol: How they become views.
        journal: This process's, to which every batch is appended.
        processes: Those that share the videos.

    Returns:
        All of it, in process 0.

    Raises:
        UserError: Something does not fit; the journal holds what was done before.
        Stopped: The process was told to end.
    """
    standing = agree(processes, journal)
    new = [index for index in range(len(source)) if index not in standing.done and index not in standing.failed]
    if processes.is_first:
        _say_where_it_stands(standing.lost, len(standing.done), len(standing.failed), len(new))
    processes.check_stop()
    with processes.compiling("steps of several sizes, to find out the batch size"):
        batch_size = build.videos_per_device(config, candidates[0], protocol) * jax.local_device_count()
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
        for indices in (new, standing.failed)
    )
    outcomes = list(standing.earlier)

    def on_batch(outcome: BatchResult) -> None:
        journal.append(outcome)
        outcomes.append(outcome)
        progress.add(outcome)
        processes.doing(f"evaluating more after {progress.videos} of its videos")
        processes.check_stop()

    with EvaluationProgress(processes, len(source), len(standing.done), protocol) as progress:
        progress.count_right(standing.earlier)
        processes.doing("evaluating its first videos")
        evaluation = evaluate(
            candidates,
            itertools.chain.from_iterable(loaded),
            random_seed=config.seed,
            mean=protocol.mean,
            std=protocol.std,
            backend=config.backend,
            clips_at_once=config.data.clips_at_once,
            earlier=standing.earlier,
            compiling=processes.compiling,
            on_batch=on_batch,
        )
        progress.finish()
    if processes.count == 1:
        return evaluation
    everything = list(gather_results(processes, outcomes))
    return concatenate([candidate.name for candidate in candidates], everything) if processes.is_first else None


def _say_where_it_stands(lost: int, done: int, failed: int, new: int) -> None:
    """Says on standard error what earlier starts have left."""
    if lost:
        print(
            f"warning: the journal is damaged; {lost} video{'s are' if lost > 1 else ' is'} evaluated again.",
            file=sys.stderr,
        )
    again = f"{failed} that could not be read {'are' if failed > 1 else 'is'} tried again" if failed else ""
    if done and not new and not failed:
        print(
            f"all {done} videos are evaluated already; here are the results again. --config.restart=True starts anew.",
            file=sys.stderr,
        )
    elif done or failed:
        parts = [f"{done} videos are evaluated already", f"{new} are to do", *([again] if again else [])]
        print(f"continuing: {', '.join(parts)}", file=sys.stderr)


def check_readable(outcome: Evaluation, source: VideoSource) -> None:
    """Makes sure that there is something to count.

    Raises:
        UserError: No video could be read.
    """
    if not outcome.ids:
        first = outcome.failures[0]
        raise UserError(f"none of the {len(source)} videos could be read; the first is {first.id}: {first.reason}")


def write_predictions(path: pathlib.Path, outcome: Evaluation) -> None:
    """Writes ids, labels and every candidate's logits per head and view as a `.npz`."""
    arrays: dict[str, Any] = {"ids": np.array(outcome.ids)}
    arrays |= {f"labels/{head}": values for head, values in outcome.labels.items()}
    for name, prediction in outcome.predictions.items():
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
