"""The results as a table of plain text, for a terminal and for a README."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from jax_vtm.reports import wording
from jax_vtm.reports.columns import Column, render, width

WIDTH = 120


def format_results(results: Mapping[str, Any]) -> str:
    """The table for a terminal, one run per row, with every comparison in words below it.

    Of several heads only the top-1 accuracies, the rest is in the page.
    At most 120 columns wide for a model of two heads: where the intervals do not fit beside the values they
    move to a line of their own, and then the tokens per layer to lines below the table.

    Args:
        results: what `results.json` holds.
    """
    runs = results["runs"]
    costs, speeds = _cost_columns(runs), _speed_columns(results)
    names, tokens = _name_column(runs), _tokens_column(runs)
    beside, below = _metric_columns(results, two_lines=False), _metric_columns(results, two_lines=True)
    layouts = [
        [names, tokens, *costs, *beside, *speeds],
        [names, tokens, *costs, *below, *speeds],
        [names, *costs, *below, *speeds],
    ]
    chosen = next((layout for layout in layouts if width(layout) <= WIDTH), layouts[-1])
    lines = render(chosen)
    if tokens not in chosen:
        lines += ["", *(f"{run['name']}, tokens per layer: {_tokens(run)}" for run in runs)]
    if sentences := [wording.comparison_sentence(entry) for entry in results.get("comparison") or []]:
        lines += ["", *(line for sentence in sentences for line in textwrap.wrap(sentence, WIDTH))]
    for note in (wording.compile_note(results), wording.failure_note(results), wording.prediction_note(results)):
        if note:
            lines += ["", *textwrap.wrap(note, WIDTH)]
    return "\n".join(lines) + "\n"


def markdown_table(results: Mapping[str, Any]) -> str:
    """The same table as GitHub Markdown.

    Args:
        results: what `results.json` holds.
    """
    runs = results["runs"]
    columns = [
        _name_column(runs),
        Column("tokens per layer", [[_tokens(run, arrow="→")] for run in runs], left=True),
        *_cost_columns(runs),
        *_metric_columns(results, two_lines=False),
        *_speed_columns(results),
    ]
    rows = [[column.head for column in columns], [":--" if column.left else "--:" for column in columns]]
    rows += [[column.cells[index][0].replace("|", "\\|") for column in columns] for index in range(len(runs))]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def _tokens(run: Mapping[str, Any], arrow: str = "|") -> str:
    return wording.tokens_per_layer(run.get("tokens_per_layer") or [], arrow)


def _name_column(runs: Sequence[Mapping[str, Any]]) -> Column:
    return Column("run", [[run["name"]] for run in runs], left=True)


def _tokens_column(runs: Sequence[Mapping[str, Any]]) -> Column:
    return Column("tokens per layer", [[_tokens(run)] for run in runs], left=True)


def _cost_columns(runs: Sequence[Mapping[str, Any]]) -> list[Column]:
    macs = [run.get("macs_per_clip") for run in runs]
    return [
        Column("GMACs", [[wording.number(None if count is None else count / 1e9)] for count in macs]),
        Column("ratio", [[wording.ratio(run.get("mac_ratio"))] for run in runs]),
    ]


def _metric_columns(results: Mapping[str, Any], *, two_lines: bool) -> list[Column]:
    columns = []
    for key in wording.leading_metrics(results):
        cells = []
        for run in results["runs"]:
            metric = (run.get("metrics") or {}).get(key) or {}
            parts = [wording.percent(metric.get("value")), wording.interval(metric)]
            cells.append(parts if two_lines else [" ".join(parts).strip()])
        columns.append(Column(wording.metric_label(key), cells))
    return columns


def _speed_columns(results: Mapping[str, Any]) -> list[Column]:
    runs = results["runs"]
    return [
        Column("clips/s", [[wording.number(wording.clips_per_second(run, results))] for run in runs]),
        Column("speed-up", [[wording.times(wording.speedup(run, results))] for run in runs]),
    ]
