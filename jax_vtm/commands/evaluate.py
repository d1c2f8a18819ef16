"""`evaluate`: evaluates the config's model on its videos, unmerged and merged."""

import contextlib
import dataclasses
import io
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from jaxtyping import Float32, Int

from jax_vtm.commands.evaluation_page import evaluation_page
from jax_vtm.config import Config
from jax_vtm.data import ClipProtocol, VideoSource, load_views
from jax_vtm.errors import SUCCESS, shown
from jax_vtm.evaluation import Evaluation, Processes, ResumeState, Variant, build, connect, hold_process_id
from jax_vtm.evaluation.distributed import remove_abandoned_process_ids
from jax_vtm.evaluation.progress import waiting
from jax_vtm.evaluation.results import confusion_matrices, summarise
from jax_vtm.evaluation.resume import listing
from jax_vtm.evaluation.run_pass import check_readable, code_of_failures, run_pass, write_predictions
from jax_vtm.evaluation.trackers import Trackers, open_trackers
from jax_vtm.files import AnyPath, csv_file, encoded, remove_leftovers, write_text
from jax_vtm.reports import print_runs
from jax_vtm.reports.merged_tokens import merged_tokens

VIDEOS_DRAWN = 2
PREDICTIONS_PRINTED = 20


def run(config: Config, workdir: AnyPath) -> int:
    """Evaluates, prints the table and writes the results to the workdir; returns the exit code."""
    build.use_compilation_cache(config.compilation_cache)
    with hold_process_id(workdir, config.distributed.process_id):
        connect(**config.distributed, timeout_s=config.host_timeout_s)
        with (
            Processes(config.host_timeout_s) as processes,
            open_trackers(config, workdir, is_first=processes.is_first) as trackers,
        ):
            return evaluate_config(config, workdir, processes, trackers)


def evaluate_config(config: Config, workdir: AnyPath, processes: Processes, trackers: Trackers) -> int:
    """As `run`, in a job whose processes are connected already."""
    folder = workdir / "resume"
    # A bucket answers while the checkpoint is read.
    with ThreadPoolExecutor(1) as background:
        listed = background.submit(listing, folder) if processes.is_first else None
        processes.doing("loading the checkpoint")
        variants = build.load_variants(config)
        protocol = build.protocol(config, variants[0].model)
        processes.doing("opening the videos")
        with processes.first_before_others():
            source = build.videos(config, variants[0].model)
    fingerprint = build.fingerprint(config, source, protocol)
    processes.check_equal(fingerprint)
    # Held to the end, so that no second run writes its results in between.
    with contextlib.ExitStack() as opened:
        names = listed.result() if listed else None
        begun_by = None if processes.is_first else processes.from_first(None)
        state = opened.enter_context(
            ResumeState(folder, fingerprint, restart=config.restart, begun_by=begun_by, names=names)
        )
        if processes.is_first:
            processes.from_first(state.id)
            remove_leftovers(workdir)
            remove_abandoned_process_ids(workdir)
            state.write_too(workdir / "config.json", encoded(f"{config.to_json_best_effort(indent=2)}\n"))
        evaluation = run_pass(config, variants, source, protocol, state, processes)
        code = SUCCESS
        if evaluation is not None:
            code = _conclude(config, workdir, variants, source, protocol, evaluation, state, processes, trackers)
        return processes.from_first(code)


def _conclude(
    config: Config,
    workdir: AnyPath,
    variants: Sequence[Variant],
    source: VideoSource,
    protocol: ClipProtocol,
    evaluation: Evaluation,
    state: ResumeState,
    processes: Processes,
    trackers: Trackers,
) -> int:
    """Writes and prints the results; returns the exit code."""
    processes.doing("writing the results")
    check_readable(evaluation, source)
    results = summarise(config, variants, evaluation, source, protocol)
    # No result stands where its batches do not.
    with ThreadPoolExecutor(1) as background:
        flushed = background.submit(state.flush)
        examples = _examples(source, protocol, evaluation.indices)
        with processes.unwatched(), waiting("drawing the merged tokens"):
            picture = merged_tokens(variants[-1], protocol, *examples, random_seed=config.seed)
        flushed.result()
    confusions = confusion_matrices(evaluation, protocol.view_average)
    pictures = [picture] if picture is not None else []
    others = {
        "failures.csv": csv_file([dataclasses.asdict(failure) for failure in evaluation.failures]),
        "confusion.npz": _packed(confusions),
    }
    if picture is not None:
        others["merged_tokens.png"] = picture.png
    # Figures are drawn while the largest file is on its way.
    with ThreadPoolExecutor(1) as background:
        predictions = background.submit(write_predictions, workdir / "predictions.npz", evaluation)
        evaluation_page(results, pictures, confusions).write(workdir, others=others)
        predictions.result()
    # Last, so that it stands for all.
    write_text(workdir / "results.json", f"{json.dumps(results, indent=2)}\n")
    trackers.evaluated(results)
    print_runs(results)
    if not evaluation.labels:
        _print_predictions(results["runs"])
    print(f"devices waited for data {100 * evaluation.device_wait_share:.0f} % of the time")
    print(f"results in {workdir}: report.html, figures, results.json, predictions.npz, confusion.npz, config.json")
    return code_of_failures(len(evaluation.failures), config.data.max_failures, str(workdir / "failures.csv"))


def _examples(
    source: VideoSource, protocol: ClipProtocol, indices: Int[np.ndarray, " n"]
) -> tuple[list[str], list[int], Float32[np.ndarray, "k T H W 3"]]:
    """Loads a few videos, evenly spaced, for the picture: their ids, indices and first views."""
    wanted = sorted({int(indices[(2 * k + 1) * len(indices) // (2 * VIDEOS_DRAWN)]) for k in range(VIDEOS_DRAWN)})
    items = [source[index] for index in wanted]
    return [item.id for item in items], wanted, np.stack([load_views(item, protocol)[0] for item in items])


def _packed(confusions: dict[str, dict[str, np.ndarray]]) -> bytes | None:
    """Returns the bytes of `confusion.npz`; None without labels."""
    arrays: dict[str, Any] = {f"{name}/{head}": m for name, heads in confusions.items() for head, m in heads.items()}
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue() if arrays else None


def _print_predictions(runs: Sequence[dict[str, Any]]) -> None:
    """Prints a line per video, with the predictions of runs that differ."""
    for entries in list(zip(*(run["predictions"] for run in runs), strict=True))[:PREDICTIONS_PRINTED]:
        texts = [", ".join(f"{head} {name}" for head, name in entry.items() if head != "id") for entry in entries]
        print(shown(f"{entries[0]['id']}: {' | '.join(dict.fromkeys(texts))}"))
    if len(runs[0]["predictions"]) > PREDICTIONS_PRINTED:
        print("... the rest is in report.html and predictions.npz")
