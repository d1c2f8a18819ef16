"""Results in words: how numbers are written, and the sentences that answer what a comparison asks.

The terminal table and the page both take their numbers from here, so one value never appears in two forms.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

MISSING = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
TIMES = "\N{MULTIPLICATION SIGN}"
TOLERATED_LOSS = 0.01  # of several runs, the sentence names the fastest that loses at most this much accuracy
SAME_SPEED = 0.02  # speed-ups this close to 1 are called equal

_METRICS = {
    "top1": "top-1",
    "top5": "top-5",
    "top5_each": "top-5, each head",
    "top5_joint": "top-5, joint",
}

# What the only head of a model is called in results.
_SINGLE_HEAD = "label"

_VIEW_AVERAGES = {
    "logits": "the mean of its views' logits",
    "softmax": "the mean of its views' probabilities",
    "max": "the maximum of its views' logits",
    "max_from_zero": "the maximum of its views' logits and zero",
}

_SUBJECTS = {
    "merge": "Merging",
    "random_merge": "Random merging",
    "drop": "Dropping",
    "random_drop": "Random dropping",
    "hybrid": "Hybrid merging",
}


def known(value: float | None) -> TypeGuard[float]:
    """Whether a value was measured: of no videos at all, an accuracy is NaN."""
    return value is not None and math.isfinite(value)


def number(value: float | None) -> str:
    """Three significant digits without an exponent: `0.157`, `1.57`, `157`, `1570`."""
    if not known(value):
        return MISSING
    if value == 0:
        return "0"
    decimals = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{decimals}f}"


def percent(share: float | None) -> str:
    """A share of 1 as `99.4 %`."""
    return MISSING if not known(share) else f"{100 * share:.1f} %"


def interval(metric: Mapping[str, Any]) -> str:
    """The 95 % interval of a metric in percent, `[99.0, 99.7]`; empty where there is none."""
    low, high = metric.get("low"), metric.get("high")
    return "" if not (known(low) and known(high)) else f"[{100 * low:.1f}, {100 * high:.1f}]"


def points(difference: float) -> str:
    """A difference of shares in percentage points with its sign, a true minus: `+0.3`, `0.0`."""
    text = f"{100 * difference:+.1f}"
    return "0.0" if float(text) == 0 else text.replace("-", MINUS)


def signed(count: int) -> str:
    """A whole number with its sign, a true minus: `+3`, `0`."""
    return f"{count:+d}".replace("-", MINUS) if count else "0"


def times(factor: float | None) -> str:
    """A factor with two decimals and a multiplication sign."""
    return MISSING if not known(factor) else f"{factor:.2f}{TIMES}"


def ratio(value: float | None) -> str:
    """A ratio of costs, `0.49`; three digits behind the point where two would hide it."""
    if not known(value):
        return MISSING
    return f"{value:.2f}" if value >= 0.095 else f"{value:.3f}"


def share_of_arithmetic(value: float) -> str:
    """A MAC ratio as `49 %`, with the digits that `ratio` shows."""
    return f"{100 * value:.0f} %" if value >= 0.095 else f"{100 * value:.1f} %"


def tokens_per_layer(tokens: Sequence[int], arrow: str = "|") -> str:
    """Tokens entering each layer, then what leaves the last: `513 403 293 183 | 73`.

    A constant count is written once; of more than six layers the middle is left out.
    """
    if not tokens:
        return MISSING
    if len(set(tokens)) == 1:
        return str(tokens[0])
    entering = [str(count) for count in tokens[:-1]]
    if len(entering) > 6:
        entering = [*entering[:3], "…", entering[-1]]
    return f"{' '.join(entering)} {arrow} {tokens[-1]}"


def metric_label(key: str) -> str:
    """`verb/top1` as `verb top-1`, `label/top1` of a single head as `top-1`."""
    head, _, name = key.rpartition("/")
    return f"{head_label(head)}{_METRICS.get(name, name)}"


def head_label(head: str) -> str:
    """A head as the first word of several, `verb `; nothing for a single head."""
    return "" if head in ("", _SINGLE_HEAD) else f"{head} "


def accuracy_name(key: str) -> str:
    """A metric as it is called within a sentence: `action accuracy`, `accuracy`, `verb top-5 accuracy`."""
    return f"{metric_label(key).replace('top-1', '').strip()} accuracy".strip()


def metric_keys(results: Mapping[str, Any]) -> list[str]:
    """Every metric of any run, in the order of first appearance."""
    return list(dict.fromkeys(key for run in results["runs"] for key in run.get("metrics") or {}))


def leading_metrics(results: Mapping[str, Any]) -> list[str]:
    """The metrics that stand beside the costs: every top-1, and the top-5 of a model with a single head."""
    keys = metric_keys(results)
    leading = [key for key in keys if key.rpartition("/")[2] == "top1"]
    return keys if len(leading) < 2 else leading


def main_metric(results: Mapping[str, Any]) -> str | None:
    """The metric of the first sentence: the action's top-1, else the only head's, else the first top-1."""
    keys = metric_keys(results)
    preferred = [key for key in ("action/top1", "top1") if key in keys]
    return next(iter([*preferred, *(key for key in keys if key.endswith("top1")), *keys]), None)


def baseline_run(results: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The run that the others are compared with: as the comparisons say, else the first unmerged one."""
    runs = results["runs"]
    named = {entry["baseline"] for entry in results.get("comparison") or []}
    candidates = [run for run in runs if run["name"] in named]
    candidates += [run for run in runs if mode(run) == "none"]
    return next(iter(candidates), None)


def mode(run: Mapping[str, Any]) -> str | None:
    """The reduction mode of a run, None where it is not recorded."""
    return (run.get("reduction") or {}).get("mode")


def timing(run: Mapping[str, Any], results: Mapping[str, Any]) -> Mapping[str, Any]:
    """What was measured of a run; empty where nothing was."""
    return ((results.get("measured") or {}).get("runs") or {}).get(run["name"]) or {}


def speedup(run: Mapping[str, Any], results: Mapping[str, Any]) -> float | None:
    """How many times the baseline's clips per second this run reaches."""
    factor = timing(run, results).get("speedup")
    return factor if known(factor) else None


def clips_per_second(run: Mapping[str, Any], results: Mapping[str, Any]) -> float | None:
    """Throughput of a run."""
    rate = timing(run, results).get("clips_per_s")
    return rate if known(rate) else None


def headline(results: Mapping[str, Any]) -> str:
    """What the results say, in one sentence; a second one where accuracy could not be measured."""
    sentence = _answer(results)
    if results["runs"] and not metric_keys(results) and not results["dataset"].get("labelled", True):
        sentence += " The videos carry no labels, so accuracy was not measured."
    return sentence


def failure_note(results: Mapping[str, Any]) -> str:
    """A warning when videos could not be used; empty when all were."""
    dataset = results["dataset"]
    failed = dataset.get("n_failed") or 0
    if not failed:
        return ""
    noun = "video" if dataset["n_videos"] == 1 else "videos"
    return (
        f"{failed} of {dataset['n_videos']} {noun} could not be read. "
        f"Every number here counts the other {dataset['n_ok']} only."
    )


def prediction_note(results: Mapping[str, Any]) -> str:
    """A warning where the model's output was not a number; empty where it always was."""
    parts = [
        f"{run['name']} {run['n_without_prediction']}" for run in results["runs"] if run.get("n_without_prediction")
    ]
    return f"Videos whose output is not a number, which count as wrong: {', '.join(parts)}." if parts else ""


def view_note(results: Mapping[str, Any]) -> str:
    """How the views of a video become one prediction; empty where it has a single one."""
    protocol = results.get("protocol") or {}
    how = protocol.get("view_average")
    if not how or protocol.get("num_clips", 1) * protocol.get("num_crops", 1) == 1:
        return ""
    return f"A video's prediction is made from {_VIEW_AVERAGES.get(how, how)}."


def wait_note(results: Mapping[str, Any]) -> str:
    """Which share of the time the devices had no data to work on; empty where it was not measured."""
    share = (results.get("measured") or {}).get("device_wait_share")
    return f"The devices waited for data {percent(share)} of the time." if known(share) else ""


def compile_note(results: Mapping[str, Any]) -> str:
    """What compiling took, which no speed includes; empty where it was not measured."""
    seconds = {run["name"]: timing(run, results).get("compile_s") for run in results["runs"]}
    parts = [f"{name} {number(value)} s" for name, value in seconds.items() if known(value)]
    return f"Compiling, apart from all speeds: {', '.join(parts)}." if parts else ""


def _answer(results: Mapping[str, Any]) -> str:
    runs = results["runs"]
    if not runs:
        return "No run has finished."
    baseline = baseline_run(results)
    others = [run for run in runs if run is not baseline]
    if baseline is None or not others:
        return _alone(runs[0], results) if len(runs) == 1 else f"{len(runs)} runs, and none to compare them with."
    if len(others) == 1:
        return f"{_subject(others[0])} {_effect(others[0], baseline, results)}."
    return _answer_of_many(others, baseline, results)


def _alone(run: Mapping[str, Any], results: Mapping[str, Any]) -> str:
    """The sentence of a single run, which has nothing to be compared with."""
    name = "Without merging, the model" if mode(run) == "none" else _subject(run)
    key = main_metric(results)
    metric = (run.get("metrics") or {}).get(key)
    clauses = []
    if key and metric and known(metric.get("value")):
        reached = f"reaches {percent(metric['value'])} {accuracy_name(key)}"
        low, high = metric.get("low"), metric.get("high")
        if known(low) and known(high):
            reached += f" (95 % interval {100 * low:.1f} to {100 * high:.1f})"
        clauses.append(reached)
    if (rate := clips_per_second(run, results)) is not None:
        clauses.append(f"runs {number(rate)} clips per second")
    if run.get("macs_per_clip") is not None:
        clauses.append(f"needs {number(run['macs_per_clip'] / 1e9)} GMACs per clip")
    return f"{name} {_listed(clauses or ['has run'])}."


def _answer_of_many(
    others: Sequence[Mapping[str, Any]], baseline: Mapping[str, Any], results: Mapping[str, Any]
) -> str:
    timed = all(speedup(run, results) is not None for run in others)
    best = "fastest" if timed else "cheapest"

    def cost(run: Mapping[str, Any]) -> float:
        value = -(speedup(run, results) or 0.0) if timed else run.get("mac_ratio")
        return math.inf if value is None else value

    key = main_metric(results)
    losses = {run["name"]: -_difference(run, baseline, key, results) for run in others if key}
    if key is None:
        chosen = min(others, key=cost)
        effect = _effect(chosen, baseline, results)
        return f"The {best} of {len(others)} reduced runs, {chosen['name']}, {effect}."
    tolerated = f"{100 * TOLERATED_LOSS:.0f} point"
    good = [run for run in others if losses[run["name"]] <= TOLERATED_LOSS]
    if good:
        chosen = min(good, key=cost)
        return (
            f"Of {len(others)} reduced runs, {chosen['name']} is the {best} that keeps {accuracy_name(key)} "
            f"within {tolerated} of {baseline['name']}: it {_effect(chosen, baseline, results)}."
        )
    chosen = min(others, key=lambda run: losses[run["name"]])
    return (
        f"None of {len(others)} reduced runs keeps {accuracy_name(key)} within {tolerated} of "
        f"{baseline['name']}; the closest, {chosen['name']}, {_effect(chosen, baseline, results)}."
    )


def _subject(run: Mapping[str, Any]) -> str:
    reduction = run.get("reduction") or {}
    word = _SUBJECTS.get(reduction.get("mode", ""))
    if word is None or isinstance(reduction.get("r"), (list, tuple)):
        return run["name"]
    return f"{word} (r = {reduction['r']})" if "r" in reduction else word


def _effect(run: Mapping[str, Any], baseline: Mapping[str, Any], results: Mapping[str, Any]) -> str:
    """What a run does, beginning with a verb: speed and arithmetic, change of accuracy, agreement."""
    key = main_metric(results)
    entry = _comparison(run, baseline, key, results)
    costs = _costs(run, results)
    clauses = [costs] if costs else []
    if key and known(difference := _difference(run, baseline, key, results)):
        clauses += _change({"metric": key, "difference": difference} | dict(entry))
    clauses += _agreement(entry)
    if not clauses:
        return "has run"
    return "; ".join(clauses) if costs else f"has run: {'; '.join(clauses)}"


def _costs(run: Mapping[str, Any], results: Mapping[str, Any]) -> str:
    factor, share = speedup(run, results), run.get("mac_ratio")
    arithmetic = "" if not known(share) else f"{share_of_arithmetic(share)} of the arithmetic"
    if factor is None:
        return f"needs {arithmetic}" if arithmetic else ""
    if abs(factor - 1) <= SAME_SPEED:
        pace = f"runs at the same speed ({times(factor)})"
    elif factor > 1:
        pace = f"runs {times(factor)} as fast"
    else:
        pace = f"runs slower, at {times(factor)} the speed,"
    return f"{pace} with {arithmetic}" if arithmetic else pace.removesuffix(",")


def _comparison(
    run: Mapping[str, Any], baseline: Mapping[str, Any], key: str | None, results: Mapping[str, Any]
) -> Mapping[str, Any]:
    """The recorded comparison of two runs in a metric, in any if none is given; empty where there is none."""
    for entry in results.get("comparison") or []:
        same_pair = entry["run"] == run["name"] and entry["baseline"] == baseline["name"]
        if same_pair and key in (None, entry.get("metric")):
            return {name: value for name, value in entry.items() if value is not None}
    return {}


def _difference(
    run: Mapping[str, Any], baseline: Mapping[str, Any], key: str | None, results: Mapping[str, Any]
) -> float:
    """Change of a metric, NaN where it is not known."""
    entry = _comparison(run, baseline, key, results)
    if "difference" in entry:
        return entry["difference"]
    values = [((one.get("metrics") or {}).get(key) or {}).get("value", math.nan) for one in (run, baseline)]
    return values[0] - values[1]


def _change(entry: Mapping[str, Any]) -> list[str]:
    difference, key = entry.get("difference"), entry.get("metric")
    if not known(difference) or key is None:
        return []
    change = f"{accuracy_name(key)} changes by {points(difference)} points"
    low, high = entry.get("low"), entry.get("high")
    if not (known(low) and known(high)):
        return [change]
    return [f"{change} (95 % interval {points(low)} to {points(high)})"]


def _agreement(entry: Mapping[str, Any]) -> list[str]:
    agreement = entry.get("agreement")
    return [] if not known(agreement) else [f"{percent(agreement)} of predictions agree"]


def _listed(clauses: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return clauses[0] if len(clauses) == 1 else f"{', '.join(clauses[:-1])} and {clauses[-1]}"
