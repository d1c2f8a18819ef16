"""Certifies a machine: whether its devices compute what was recorded, and how fast (`benchmark.what=device`).

Recorded models of all four families run with every backend that the device has, unmerged and merged. In float32, with
products at the highest precision, logits and the merging decisions of every layer have to be those of the paper's code.
In bfloat16 a rounded key can merge other tokens, so the float32 decisions are given and the logits compared. Then come
attention, matching and merging by themselves at full size, and ViViT-B unmerged and merged. `benchmark.axes` takes
another size, say `"model.image_size=112 batch=1"`.
"""

import functools
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any, cast

import jax
import numpy as np
from flax import linen as nn
from flax.traverse_util import unflatten_dict

from jax_vtm.benchmarks import model as whole_models
from jax_vtm.benchmarks.experiments import read_experiments
from jax_vtm.benchmarks.recorded import RecordedModel, recorded_models
from jax_vtm.benchmarks.report import Report, Row
from jax_vtm.config import Config
from jax_vtm.evaluation import backend_trials as trials
from jax_vtm.evaluation.backend_trials import exists
from jax_vtm.evaluation.build import DTYPES
from jax_vtm.files import AnyPath
from jax_vtm.merging import MATCHINGS, MERGINGS, TokenReduction, choose_matching, choose_merging, metric_from_keys
from jax_vtm.merging.backends.best_match import cosine_scores
from jax_vtm.models.attention import BACKENDS, choose_backend
from jax_vtm.models.compute import narrowed
from jax_vtm.reports import Column
from jax_vtm.reports.formatting import TIMES, factor, number, percent, plural, scientific

MODEL, R = "vivit_b_16x2", (0, 300)
# Clips at a time, of ViViT-B; and type, rounds, and seconds of one thing in a round, at least.
ON_CPU = {"batch": 1, "dtype": "float32", "rounds": 1, "seconds": 0.0}
ELSEWHERE = {"batch": 8, "dtype": "bfloat16", "rounds": 5, "seconds": 0.05}


def measure(config: Config, workdir: AnyPath) -> Iterator[dict[str, Any]]:
    """Checks and times everything, and yields the rows so far."""
    began, rows = time.perf_counter(), list[dict[str, Any]]()
    setting = ON_CPU if jax.default_backend() == "cpu" else ELSEWHERE
    speed = _speed_config(config, setting)
    steps = (
        *((f"recorded {one.family}", functools.partial(_recorded_rows, one)) for one in recorded_models()),
        ("attention, matching and merging by themselves", functools.partial(_part_rows, speed, setting)),
        (f"{MODEL} unmerged and merged", lambda: _speed_rows(_with_fastest(speed, rows), workdir)),
    )
    for what, step in steps:
        print(f"checking {what}", file=sys.stderr, flush=True)
        rows += step()
        yield {"rows": rows, "measured": {"seconds": time.perf_counter() - began}}


def _recorded_rows(one: RecordedModel) -> Iterator[dict[str, Any]]:
    """Runs a model with every backend in either type, unmerged and merged."""
    scores: Mapping[str, Any] = {}
    for dtype in DTYPES:
        found = {
            "attention": [name for name in BACKENDS[1:] if exists(choose_backend, name, dtype=dtype)],
            "matching": [name for name in MATCHINGS[1:] if exists(choose_matching, name)],
            "merging": [name for name in MERGINGS[1:] if exists(choose_merging, name)],
        }
        # With decisions given, and sums in float32, only attention is left to compare.
        count = max(map(len, found.values())) if dtype == "float32" else len(found["attention"])
        merging = [{part: names[place % len(names)] for part, names in found.items()} for place in range(count)]
        unmerged = [{"attention": name} for name in found["attention"]]
        for merged, backends in [*((False, each) for each in unmerged), *((True, each) for each in merging)]:
            check = f"recorded {one.family}, {'' if merged else 'unmerged, '}{dtype}"
            row = {"check": check, "backend": ", ".join(backends.values())}
            try:
                with jax.default_matmul_precision(trials.HIGHEST if dtype == "float32" else None):
                    logits, memberships, own_scores = recorded_outputs(one, backends, dtype, scores, merged=merged)
            # Whatever goes wrong on a device that nothing has run on is a result.
            except Exception as error:
                yield {**row, "ok": False, "reason": trials.reason(error)}
                continue
            # Those of the first backends, which write all scores out.
            scores = scores or own_scores
            yield row | _compared(one, logits, memberships, dtype, merged=merged)


def _compared(
    one: RecordedModel, logits: np.ndarray, memberships: np.ndarray, dtype: str, *, merged: bool
) -> dict[str, Any]:
    """Says by how much logits differ from the recorded, and in every layer how many tokens are in the same group."""
    recorded, bound = one.logits(merged), trials.BOUND if dtype == "float32" else trials.ROUNDED_BOUND
    difference = float(np.abs(logits - recorded).max() / np.abs(recorded).max())
    row: dict[str, Any] = {"logits": difference, "bound": bound}
    reasons = [] if difference <= bound else [f"logits differ by {difference:.1g} of the largest"]
    if merged:
        row["same_per_layer"] = same = np.mean(memberships == one.memberships, axis=(1, 2)).tolist()
        row["same"] = min(same)
        if row["same"] < 1:
            reasons.append(f"other tokens are merged from layer {next(i for i, own in enumerate(same) if own < 1)} on")
    return {**row, "ok": not reasons, "reason": "; ".join(reasons)}


def recorded_outputs(
    one: RecordedModel, backends: dict[str, Any], dtype: str, scores: Mapping[str, Any], *, merged: bool = True
) -> tuple[np.ndarray, np.ndarray, Mapping[str, Any]]:
    """Returns logits, membership after each layer, and the scores that tokens are matched by.

    Where a merging model computes in bfloat16, the scores are given.
    """
    model = one.model(merged, dtype=DTYPES[dtype], **backends)
    given = {"scores": scores} if merged and dtype != "float32" else {}

    @jax.jit
    def forward(variables, video):
        found: dict[tuple[str, ...], jax.Array] = {}

        def keep(call, args, kwargs, context):
            wanted = merged and not scores and isinstance(context.module, TokenReduction)
            if wanted and context.method_name == "__call__":
                metric = metric_from_keys(args[1], context.module.reduction.head_aggregation)
                found[*context.module.path, "scores"] = cosine_scores(metric)
            return call(*args, **kwargs)

        with nn.intercept_methods(keep):
            logits, trace = cast(Any, model.apply(variables, video, trace=True))
        return logits, [state.membership for state in trace.layers], unflatten_dict(found)

    logits, memberships, found = forward({"params": narrowed(one.params, model.dtype), **given}, one.video)
    return np.asarray(logits, np.float32), np.asarray(memberships), found


def _speed_config(config: Config, setting: Mapping[str, Any]) -> Config:
    own = config.copy_and_resolve_references()
    with own.unlocked():
        own.model.name, own.model.dtype, own.reduction.r = MODEL, setting["dtype"], max(R)
        own.benchmark.grids = ({"batch": setting["batch"], "reduction.r": R},)
        own.benchmark.update(rounds=setting["rounds"], scopes=("forward",), cached_compile=False)
    return own


def _part_rows(config: Config, setting: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Compares kernels with plain forms at the sizes of the model's first layer."""
    merged = next(one for one in read_experiments(config) if not one.is_baseline)
    tokens, left, *_ = merged.model.tokens_per_layer
    heads, hidden = merged.model.num_heads, merged.model.hidden_size
    parts = [trials.attention(1, tokens, tokens, heads, hidden // heads, dtype) for dtype in DTYPES]
    for part in (*parts, trials.matching(1, tokens, hidden // heads), trials.merging(1, tokens, tokens - left, hidden)):
        for name, trial in trials.tried(part, rounds=setting["rounds"], seconds=setting["seconds"]).items():
            yield {
                "check": f"{part.what} of {tokens} tokens, {part.dtype}",
                "backend": name,
                "ok": not trial.reason,
                "difference": trial.difference,
                "bound": part.bound,
                "ms": trial.ms,
                "reason": trial.reason,
            }


def _with_fastest(config: Config, rows: list[dict[str, Any]]) -> Config:
    """Takes what was fastest by itself, as "auto" does where it measures."""
    for part in ("attention", "matching", "merging") if jax.default_backend() != "cpu" else ():
        dtype = config.model.dtype if part == "attention" else "float32"
        timed = [row for row in rows if row["check"].startswith(part) and row["check"].endswith(dtype) and row["ms"]]
        if timed:
            config.model[part] = min(timed, key=lambda row: row["ms"]["median"])["backend"]
    return config


def _speed_rows(config: Config, workdir: AnyPath) -> list[dict[str, Any]]:
    """Times whole models as `benchmark.what=model` does."""
    *_, results = whole_models.measure(config, workdir)
    rows = []
    for row in results["rows"]:
        forward = row["measured"]["scopes"].get("forward", {})
        wanted = ("clips_per_s", "speedup", "percent_of_mac_ratio")
        rows.append(
            {
                "check": f"{MODEL}, {row['model']['dtype']}, batch {row['batch']}: {row['name']}",
                "backend": ", ".join(row["chosen"].values()),
                "ok": not row["reason"],
                "reason": row["reason"],
                **{key: forward.get(key) for key in wanted},
                "mac_ratio": row["mac_ratio"],
            }
        )
    return rows


def _headline(results: Row) -> str:
    """The verdict."""
    rows = results["rows"]
    machine, failed = results["measured"]["machine"]["device_kind"], [row for row in rows if not row["ok"]]
    if failed:
        named = "; ".join(f"{row['check']} ({row['backend']}): {row.get('reason') or 'differs'}" for row in failed[:3])
        return f"NOT CERTIFIED: {len(failed)} of {plural(len(rows), 'check')} failed on {machine}: {named}."
    said = f"CERTIFIED: all {plural(len(rows), 'check')} passed on {machine}"
    merged = rows[-1]
    return (
        f"{said}. {merged['check']}: {factor(merged['speedup']['median'])}{TIMES} as fast as unmerged, "
        f"{merged['percent_of_mac_ratio']['median']:.0f} % of what its arithmetic allows "
        f"({merged['backend']})."
    )


def _flat(row: Row) -> Row:
    return {**row, "passed": "yes" if row["ok"] else "NO"}


_BOUND = Column("bound", "allowed", format=scientific)
REPORT = Report(
    names=(Column("passed", "passed"), Column("check", "check"), Column("backend", "attention, matching, merging")),
    columns={
        "Failed": (Column("reason", "reason"),),
        "Recorded models": (
            Column("logits", "logits differ", format=scientific, note="As a share of the largest recorded logit."),
            _BOUND,
            Column("same", "groups", "%", percent, "Tokens in the group that was recorded, in the layer with fewest."),
        ),
        "Kernels and plain forms": (
            Column("difference", "differs", format=scientific, note="From the plain form, of its largest value."),
            _BOUND,
            Column("ms", "time", "ms", number),
        ),
        "Speed": (
            Column("clips_per_s", "rate", "clips/s", number),
            Column("speedup", "speed-up", TIMES, factor),
            Column("mac_ratio", "MAC ratio", TIMES, factor),
            Column("percent_of_mac_ratio", "of MAC ratio", "%", "{:.0f}".format),
        ),
    },
    headline=_headline,
    flat=_flat,
    facts=lambda results: [
        ("Took", f"{results['measured']['seconds']:.0f} s, compiling included"),
        (
            "Allowed",
            f"Of the largest value {trials.BOUND:g} in float32 and {trials.ROUNDED_BOUND:g} in bfloat16, and no token "
            "in another group than recorded, in any layer; in bfloat16 merging is by the float32 decisions",
        ),
    ],
)
