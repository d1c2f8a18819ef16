"""`python main.py evaluate`: the config's model, unmerged beside merged, on the config's videos."""

import csv
import io
import itertools
import json
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Float32, Int

from jax_vtm.commands import build
from jax_vtm.commands.cli import SUCCESS, TOO_MANY_FAILED, exit_code
from jax_vtm.commands.defaults import Config
from jax_vtm.commands.pictures import merged_tokens
from jax_vtm.commands.replacing import replacing
from jax_vtm.commands.results import confusion_matrices, summarise
from jax_vtm.commands.tally import Tally
from jax_vtm.data import ClipProtocol, Failure, VideoSource, batches, load_views
from jax_vtm.errors import UserError
from jax_vtm.evaluation import (
    BatchOutcome,
    Candidate,
    Evaluation,
    Journal,
    Processes,
    agree,
    bring_together,
    connect,
    evaluate,
    put_together,
)
from jax_vtm.merging import Reduction, no_reduction
from jax_vtm.reports import Picture, format_results, render_report

VIDEOS_DRAWN = 2
PREDICTIONS_PRINTED = 20


def run(config: Config, workdir: pathlib.Path) -> int:
    """Evaluates, prints the table and writes the results to the workdir.

    Returns:
        The exit code.
    """
    build.use_compilation_cache(config.compilation_cache)
    connect(**config.distributed, timeout_s=config.host_timeout_s)
    with Processes(config.host_timeout_s, exit_code) as processes:
        return _run(config, workdir, processes)


def _run(config: Config, workdir: pathlib.Path, processes: Processes) -> int:
    processes.doing("loading the checkpoint")
    candidates = load_candidates(config)
    protocol = build.protocol(config, candidates[0].model)
    processes.doing("opening the videos")
    with processes.first_before_others("videos"):
        source = build.videos(config, candidates[0].model, workdir)
    fingerprint = build.fingerprint(config, source, protocol)
    processes.check_equal(fingerprint)
    # Held to the end, so that no second run writes its results in between.
    with _open_journal(config, workdir, fingerprint, processes) as journal:
        if processes.is_first:
            with replacing(workdir / "config.json") as file:
                file.write(f"{config.to_json_best_effort(indent=2)}\n".encode())
        outcome = _evaluate(config, candidates, source, protocol, journal, processes)
        code = SUCCESS
        if outcome is not None:
            processes.doing("writing the results")
            code = _conclude(config, workdir, candidates, source, protocol, outcome)
        # The others wait for it, since their journals are of use until there are results.
        return processes.from_first("exit code", code)


def _open_journal(
    config: Config, workdir: pathlib.Path, fingerprint: Mapping[str, Any], processes: Processes
) -> Journal:
    """Opens the journal in process 0 and then in the others, whether or not they share a folder."""
    folder = workdir / "journal"
    if processes.is_first:
        journal = Journal(folder, fingerprint, restart=config.restart)
        processes.from_first("journal", journal.id)
        return journal
    begun_by = processes.from_first("journal", None)
    return Journal(folder, fingerprint, process_index=processes.index, restart=config.restart, begun_by=begun_by)


def _conclude(
    config: Config,
    workdir: pathlib.Path,
    candidates: Sequence[Candidate],
    source: VideoSource,
    protocol: ClipProtocol,
    outcome: Evaluation,
) -> int:
    """Writes and prints the results; returns the exit code."""
    if not outcome.ids:
        first = outcome.failures[0]
        raise UserError(f"none of the {len(source)} videos could be read; the first is {first.id}: {first.reason}")
    results = summarise(config, candidates, outcome, source, protocol)
    picture = merged_tokens(candidates[-1], protocol, *_examples(source, protocol, outcome.indices))
    _write(workdir, results, outcome, confusion_matrices(outcome, protocol.view_average), picture)
    print(format_results(results))
    if not outcome.labels:
        _print_predictions(results["runs"])
    print(f"devices waited for data {100 * outcome.device_wait_share:.0f} % of the time")
    print(f"results in {workdir}: report.html, results.json, predictions.npz, confusion.npz, config.json")
    failed = len(outcome.failures)
    if failed > config.data.max_failures:
        print(
            f"error: {failed} video{'s' if failed > 1 else ''} failed, more than data.max_failures = "
            f"{config.data.max_failures}; {workdir / 'failures.csv'} names them.",
            file=sys.stderr,
        )
        return TOO_MANY_FAILED
    return SUCCESS


def _evaluate(
    config: Config,
    candidates: Sequence[Candidate],
    source: VideoSource,
    protocol: ClipProtocol,
    journal: Journal,
    processes: Processes,
) -> Evaluation | None:
    """Evaluates what no journal has yet, and at the end tries again what they say could not be read.

    Returns:
        All of it, in process 0.
    """
    standing = agree(processes, journal)
    new = [index for index in range(len(source)) if index not in standing.done and index not in standing.failed]
    if processes.is_first:
        _say_where_it_stands(standing.lost, len(standing.done), len(standing.failed), len(new))
    processes.check_stop()
    processes.doing("finding out the batch size")
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
    videos = num_failed = 0
    counts: dict[str, dict[str, int]] = {}

    def on_batch(outcome: BatchOutcome, counts_so_far: dict[str, dict[str, int]]) -> None:
        nonlocal videos, num_failed, counts
        journal.append(outcome)
        outcomes.append(outcome)
        videos += outcome.num_videos
        num_failed += len(outcome.failures)
        counts = counts_so_far
        processes.doing(f"evaluating more after {videos} of its videos")
        tally.update(videos, num_failed, counts)
        processes.check_stop()

    with Tally(processes, len(source), len(standing.done), protocol.num_views) as tally:
        processes.doing("evaluating its first videos (and compiling)")
        evaluation = evaluate(
            candidates,
            itertools.chain.from_iterable(loaded),
            random_seed=config.seed,
            view_average=protocol.view_average,
            mean=protocol.mean,
            std=protocol.std,
            backend=config.backend,
            clips_at_once=config.data.clips_at_once,
            earlier=standing.earlier,
            on_batch=on_batch,
        )
        tally.update(videos, num_failed, counts, finished=True)
    if processes.count == 1:
        return evaluation
    everything = list(bring_together(processes, outcomes))
    return put_together([candidate.name for candidate in candidates], everything) if processes.is_first else None


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


def load_candidates(config: Config) -> list[Candidate]:
    """Loads the checkpoint and gives its parameters to the model unmerged and, if asked for, merged.

    Raises:
        UserError: No checkpoint, or one that does not fit.
    """
    reduction = build.reduction(config)
    unmerged = build.model(config, no_reduction())
    params = build.inference_params(config, unmerged)
    candidates = [Candidate("unmerged", unmerged, params)]
    if reduction.mode != "none":
        candidates.append(Candidate(run_name(reduction), build.model(config, reduction), params))
    return candidates


def run_name(reduction: Reduction) -> str:
    """Names a run in a few words, such as "merge r=100" or "drop r=100, inflection -1"."""
    amount = f"r={reduction.r}" if isinstance(reduction.r, int) else f"r={list(reduction.r)}"
    slope = f", inflection {reduction.inflection:g}" if reduction.inflection else ""
    return f"{reduction.mode} {amount}{slope}"


def _examples(
    source: VideoSource, protocol: ClipProtocol, indices: Int[np.ndarray, " n"]
) -> tuple[list[str], Float32[np.ndarray, "k T H W 3"]]:
    """Loads a few videos again, spread over the set, for the picture: their ids and first views."""
    wanted = {int(indices[(2 * k + 1) * len(indices) // (2 * VIDEOS_DRAWN)]) for k in range(VIDEOS_DRAWN)}
    items = [source[index] for index in sorted(wanted)]
    return [item.id for item in items], np.stack([load_views(item, protocol)[0] for item in items])


def _write(
    workdir: pathlib.Path,
    results: dict[str, Any],
    outcome: Evaluation,
    confusions: dict[str, dict[str, np.ndarray]],
    picture: Picture | None,
) -> None:
    """Writes every file, each at once; `results.json` comes last, so that it stands for them all."""
    _write_failures(workdir / "failures.csv", outcome.failures)
    if picture is not None:
        with replacing(workdir / "merged_tokens.png") as file:
            file.write(picture.png)
    with replacing(workdir / "report.html") as file:
        file.write(render_report(results, [picture] if picture is not None else [], confusions).encode())
    _write_confusions(workdir / "confusion.npz", confusions)

    arrays: dict[str, Any] = {"ids": np.array(outcome.ids)}
    arrays |= {f"labels/{head}": values for head, values in outcome.labels.items()}
    for name, prediction in outcome.predictions.items():
        arrays |= {f"{name}/logits/{head}": values for head, values in prediction.logits.items()}
    with replacing(workdir / "predictions.npz") as file:
        np.savez(file, **arrays)
    with replacing(workdir / "results.json") as file:
        file.write(f"{json.dumps(results, indent=2)}\n".encode())


def _write_confusions(path: pathlib.Path, confusions: dict[str, dict[str, np.ndarray]]) -> None:
    arrays: dict[str, Any] = {f"{name}/{head}": m for name, heads in confusions.items() for head, m in heads.items()}
    if not arrays:
        # What an earlier run counted is no longer said.
        path.unlink(missing_ok=True)
        return
    with replacing(path) as file:
        np.savez_compressed(file, **arrays)


def _write_failures(path: pathlib.Path, failures: Sequence[Failure]) -> None:
    if not failures:
        # What an earlier run could not read is no longer said.
        path.unlink(missing_ok=True)
        return
    table = io.StringIO()
    csv.writer(table).writerows([("id", "reason"), *((failure.id, failure.reason) for failure in failures)])
    with replacing(path) as file:
        file.write(table.getvalue().encode())


def _print_predictions(runs: Sequence[dict[str, Any]]) -> None:
    """Prints one line a video, the runs side by side where they differ."""
    for entries in list(zip(*(run["predictions"] for run in runs), strict=True))[:PREDICTIONS_PRINTED]:
        said = [", ".join(f"{head} {name}" for head, name in entry.items() if head != "id") for entry in entries]
        print(f"{entries[0]['id']}: {' | '.join(dict.fromkeys(said))}")
    if len(runs[0]["predictions"]) > PREDICTIONS_PRINTED:
        print("... the rest is in report.html and predictions.npz")
