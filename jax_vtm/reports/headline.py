"""The headline of a page of runs: speed, arithmetic, and accuracy if its change is known."""

import math
from collections.abc import Sequence

from jax_vtm.evaluation.run_names import mode_name
from jax_vtm.reports.formatting import TIMES, accuracy_name, factor, is_known, number, percent, shortened
from jax_vtm.reports.runs import Results, Run, comparison, main_metric, timing
from jax_vtm.reports.table import Interval

TOLERATED_LOSS = 0.01  # of several runs, the headline names the fastest whose interval stays above this loss
TWO_LINES = 160  # characters, of a page 1280 pixels wide
SAME_SPEED = 0.02  # speed-ups this close to 1 count as equal

_SUBJECTS = {
    "merge": "Merging",
    "random_merge": "Random merging",
    "drop": "Dropping",
    "random_drop": "Random dropping",
    "hybrid": "Hybrid merging",
}


def headline(results: Results) -> str:
    """Returns the headline, two lines at most; changes whose interval spans zero are left out."""
    (baseline, *others), key = results["runs"], main_metric(results)
    if not others:
        return _unmerged(baseline, results)
    if len(others) == 1:
        without = "" if results["dataset"]["labelled"] else " Without labels, accuracy was not measured."
        return f"{_subject(others[0])} {_costs(others[0], results)}{_change(others[0], results)}.{without}"
    if key is None:
        best = min(others, key=lambda run: _cost(run, results))
        name, kind = shortened(best["name"]), _fastest_or_cheapest(best, results)
        return f"The {kind} of {len(others)} reduced runs, {name}, {_costs(best, results)}."
    kept = [run for run in others if _largest_loss(run, baseline, key, results) <= TOLERATED_LOSS]
    if not kept:
        bound = f"{accuracy_name(key)} within {100 * TOLERATED_LOSS:.0f} point of {shortened(baseline['name'])}"
        return f"Of {len(others)} reduced runs, none surely keeps {bound}."
    best = min(kept, key=lambda run: _cost(run, results))
    start, kind = f"Of {len(others)} reduced runs, ", _fastest_or_cheapest(best, results)
    costs = ", ".join(how for _, how in _cost_clauses(best, results))
    rest = f" is the {kind} that keeps {accuracy_name(key)} within {100 * TOLERATED_LOSS:.0f} point: {costs}."
    return f"{start}{shortened(best['name'], TWO_LINES - len(start + rest))}{rest}"


def _unmerged(run: Run, results: Results) -> str:
    key = main_metric(results)
    reached, rate = Interval.of(run["metrics"].get(key)), timing(run, results).get("clips_per_s")
    clauses = []
    if key and is_known(reached.value):
        between = f" ({percent(reached.low)} to {percent(reached.high)})" if reached.is_known else ""
        clauses.append(f"reaches {percent(reached.value)} %{between} {accuracy_name(key)}")
    if is_known(rate):
        clauses.append(f"runs {number(rate)} clips/s")
    clauses.append(f"needs {number(run['macs_per_clip'] / 1e9)} GMACs per clip")
    return f"Without merging, the model {_joined(clauses)}."


def _fastest_or_cheapest(run: Run, results: Results) -> str:
    return "fastest" if is_known(timing(run, results).get("speedup")) else "cheapest"


def _subject(run: Run) -> str:
    word, r = _SUBJECTS.get(mode_name(run["reduction"]["mode"])), run["reduction"]["r"]
    return f"{word} (r = {r})" if word and isinstance(r, int) else shortened(run["name"])


def _costs(run: Run, results: Results) -> str:
    return _joined([" ".join(clause) for clause in _cost_clauses(run, results)]) or "has run"


def _cost_clauses(run: Run, results: Results) -> list[tuple[str, str]]:
    speed, share = timing(run, results).get("speedup"), run["mac_ratio"]
    clauses = []
    if is_known(speed):
        same = abs(speed - 1) <= SAME_SPEED
        clauses.append(("runs", "at the same speed" if same else f"{factor(speed)}{TIMES} as fast"))
    if is_known(share):
        clauses.append(("needs", f"{100 * share:.{0 if share >= 0.095 else 1}f} % of the arithmetic"))
    return clauses


def _change(run: Run, results: Results) -> str:
    entry = comparison(run, results)
    change, key = Interval.of(entry, "difference"), entry.get("metric")
    if change.spans_zero or not key:
        return ""
    return f"; {accuracy_name(key)} {'falls' if change.value < 0 else 'rises'} by {abs(100 * change.value):.1f} points"


def _largest_loss(run: Run, baseline: Run, key: str, results: Results) -> float:
    """Returns the loss of accuracy at the end of its 95 % interval, or the loss itself without an interval."""
    change = comparison(run, results).get("low")
    if is_known(change):
        return -change
    ours, theirs = (Interval.of(one["metrics"].get(key)).value for one in (run, baseline))
    return theirs - ours if is_known(theirs - ours) else math.inf


def _cost(run: Run, results: Results) -> float:
    speed = timing(run, results).get("speedup")
    return -speed if is_known(speed) else run["mac_ratio"]


def _joined(clauses: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(clauses[:-1]), *clauses[-1:])))
