"""Which published accuracies a result can be set beside, and which only look alike."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jax_vtm.data import published_protocol
from jax_vtm.data.source import SINGLE_HEAD
from jax_vtm.errors import UserError
from jax_vtm.reports.published.results import PublishedResult, published_results


@dataclasses.dataclass(frozen=True)
class Beside:
    """A published accuracy and ours of the same thing.

    Attributes:
        run: The run's name.
        metric: The metric, as results have it.
        ours: {"value", "low", "high", ...} of the metric, shares of one.
        published: What it is set beside.
    """

    run: str
    metric: str
    ours: Mapping[str, Any]
    published: PublishedResult

    @property
    def difference(self) -> float:
        """Ours less theirs, a share of one."""
        return self.ours["value"] - self.published.accuracy / 100


@dataclasses.dataclass(frozen=True)
class Apart:
    """A published accuracy of the same model and data set that no run of ours is comparable with."""

    published: PublishedResult
    reason: str


def set_beside(results: Mapping[str, Any]) -> tuple[list[Beside], list[Apart]]:
    """Sorts the published accuracies of the results' model and data set.

    Comparable is what has the same architecture, data set, protocol in every value, reduction and metric. That the
    weights are the same is for the reader to know.

    Args:
        results: What `results.json` holds.

    Returns:
        Those comparable with a run, run by run, and all others with the reason; both empty where nothing is published.
    """
    model, dataset = (results.get("model") or {}).get("name"), results["dataset"].get("name")
    rows = [row for row in published_results() if row.preset and (row.preset, row.dataset) == (model, dataset)]
    differing = {row.protocol: _differing_values(results.get("protocol") or {}, row) for row in rows}
    beside = [
        Beside(run["name"], metric, ours, row)
        for run in results["runs"]
        for metric, ours in (run.get("metrics") or {}).items()
        for row in rows
        if not differing[row.protocol]
        and row.metric == metric.removeprefix(f"{SINGLE_HEAD}/")
        and _same_reduction(run.get("reduction") or {}, row)
    ]
    taken = {id(entry.published) for entry in beside}
    apart = [Apart(row, _reason(differing[row.protocol])) for row in rows if id(row) not in taken]
    return beside, apart


def _reason(differing: list[str]) -> str:
    if not differing:
        return "no run here has this reduction and metric"
    return f"another protocol: {', '.join(differing)}"


def _differing_values(protocol: Mapping[str, Any], row: PublishedResult) -> list[str]:
    """The values in which a protocol is not the published one; empty if it is."""
    try:
        theirs = published_protocol(
            row.protocol,
            row.family,
            row.dataset,
            num_frames=protocol.get("num_frames", 0),
            crop=protocol.get("crop", 0),
        )
    except UserError:
        return ["frames or pixels"]
    return [
        name.replace("_", " ")
        for name, value in dataclasses.asdict(theirs).items()
        if protocol.get(name) != (list(value) if isinstance(value, tuple) else value)
    ]


def _same_reduction(reduction: Mapping[str, Any], row: PublishedResult) -> bool:
    if row.mode == "none" or reduction.get("mode") == "none":
        return reduction.get("mode") == row.mode
    asked = ["mode", "r", "inflection", "head_aggregation"]
    # Of dropped tokens all sizes are one, so that there is nothing for attention to be proportional to.
    if row.mode not in ("drop", "random_drop"):
        asked.append("proportional_attention")
    if row.mode == "hybrid":
        asked.append("threshold")
    return all(reduction.get(name) == getattr(row, name) for name in asked)
