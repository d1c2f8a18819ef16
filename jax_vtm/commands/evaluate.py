"""`python main.py evaluate`: the config's model, unmerged beside merged, on the config's videos."""

import csv
import json
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Float32

from jax_vtm.commands import build
from jax_vtm.commands.cli import SUCCESS, TOO_MANY_FAILED
from jax_vtm.commands.defaults import Config
from jax_vtm.commands.pictures import merged_tokens
from jax_vtm.commands.progress import Progress
from jax_vtm.commands.results import summarise
from jax_vtm.data import ClipProtocol, Failure, VideoSource, batches, load_views
from jax_vtm.errors import UserError
from jax_vtm.evaluation import Candidate, Evaluation, evaluate
from jax_vtm.merging import Reduction, no_reduction
from jax_vtm.reports import format_results, render_report

VIDEOS_DRAWN = 2
PREDICTIONS_PRINTED = 20


def run(config: Config, workdir: pathlib.Path) -> int:
    """Evaluates, prints the table and writes the results to the workdir.

    Returns:
        The exit code.
    """
    build.use_compilation_cache(config.compilation_cache)
    candidates = load_candidates(config)
    workdir.mkdir(parents=True, exist_ok=True)
    (workdir / "config.json").write_text(config.to_json_best_effort(indent=2) + "\n")
    source = build.videos(config, candidates[0].model, workdir)
    protocol = build.protocol(config, candidates[0].model)

    batch_size = config.data.batch_size * jax.local_device_count()
    loaded = batches(source, protocol, batch_size, num_threads=config.data.num_threads, prefetch=2 * batch_size)
    with Progress(len(source), "videos") as progress:
        outcome = evaluate(
            candidates,
            loaded,
            random_seed=config.seed,
            on_batch=lambda batch, counts: progress.advance(int(np.sum(batch.indices >= 0)), _status(counts)),
        )
    if not outcome.ids:
        first = outcome.failures[0]
        raise UserError(f"none of the {len(source)} videos could be read; the first is {first.id}: {first.reason}")

    results = summarise(config, candidates, outcome, source, protocol)
    picture = merged_tokens(candidates[-1], protocol, *_examples(source, protocol, outcome.ids))
    _write(workdir, results, outcome, picture)
    print(format_results(results))
    if not outcome.labels:
        _print_predictions(results["runs"])
    print(f"results in {workdir}: report.html, results.json, predictions.npz, config.json")
    failed = len(outcome.failures)
    if failed > config.data.max_failures:
        print(
            f"error: {failed} video{'s' if failed > 1 else ''} failed, more than data.max_failures = "
            f"{config.data.max_failures}; {workdir / 'failures.csv'} names them.",
            file=sys.stderr,
        )
        return TOO_MANY_FAILED
    return SUCCESS


def load_candidates(config: Config) -> list[Candidate]:
    """Loads the checkpoint and gives its parameters to the model unmerged and, if asked for, merged.

    Raises:
        UserError: No checkpoint, or one that does not fit.
    """
    reduction = build.reduction(config)
    unmerged = build.model(config, no_reduction())
    params = build.params(config, unmerged)
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
    source: VideoSource, protocol: ClipProtocol, ids: Sequence[str]
) -> tuple[list[str], Float32[np.ndarray, "n T H W 3"]]:
    """Loads a few videos again, spread over the set, for the picture: their ids and first views."""
    wanted = {ids[(2 * k + 1) * len(ids) // (2 * VIDEOS_DRAWN)] for k in range(VIDEOS_DRAWN)}
    items = [item for item in (source[index] for index in range(len(source))) if item.id in wanted]
    return [item.id for item in items], np.stack([load_views(item, protocol)[0] for item in items])


def _write(workdir: pathlib.Path, results: dict[str, Any], outcome: Evaluation, picture) -> None:
    _write_failures(workdir / "failures.csv", outcome.failures)
    (workdir / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    if picture is not None:
        (workdir / "merged_tokens.png").write_bytes(picture.png)
    (workdir / "report.html").write_text(render_report(results, [picture] if picture is not None else []))

    arrays: dict[str, Any] = {"ids": np.array(outcome.ids)}
    arrays |= {f"labels/{head}": values for head, values in outcome.labels.items()}
    for name, prediction in outcome.predictions.items():
        arrays |= {f"{name}/logits/{head}": values for head, values in prediction.logits.items()}
    np.savez(workdir / "predictions.npz", **arrays)


def _write_failures(path: pathlib.Path, failures: Sequence[Failure]) -> None:
    # What an earlier run could not read is no longer said.
    path.unlink(missing_ok=True)
    if failures:
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([("id", "reason"), *((failure.id, failure.reason) for failure in failures)])


def _status(counts: dict[str, dict[str, int]]) -> str:
    """Says each run's accuracy so far: of actions, or of the first head."""
    parts = []
    for name, values in counts.items():
        metrics = [metric for metric in values if metric.endswith("/top1")]
        if metrics and values["videos"]:
            metric = "action/top1" if "action/top1" in metrics else metrics[0]
            parts.append(f"{name} {100 * values[metric] / values['videos']:.1f} %")
    return ", ".join(parts)


def _print_predictions(runs: Sequence[dict[str, Any]]) -> None:
    """Prints one line a video, the runs side by side where they differ."""
    for entries in list(zip(*(run["predictions"] for run in runs), strict=True))[:PREDICTIONS_PRINTED]:
        said = [", ".join(f"{head} {name}" for head, name in entry.items() if head != "id") for entry in entries]
        print(f"{entries[0]['id']}: {' | '.join(dict.fromkeys(said))}")
    if len(runs[0]["predictions"]) > PREDICTIONS_PRINTED:
        print("... the rest is in report.html and predictions.npz")
