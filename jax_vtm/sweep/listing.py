"""What a sweep would run, in words: nothing but the models' shapes is looked at."""

import collections
import functools
from collections.abc import Callable, Sequence

from jax_vtm.config import Config
from jax_vtm.evaluation import build
from jax_vtm.evaluation.run_names import run_name
from jax_vtm.merging import Reduction, no_reduction
from jax_vtm.models import VideoClassifier
from jax_vtm.reports import Column, Table
from jax_vtm.reports.formatting import number, ratio, tokens_per_layer
from jax_vtm.sweep.grid import Cell

_COLUMNS = (
    Column("number", ""),
    Column("run", "run"),
    Column("tokens", "tokens per layer"),
    Column("gmacs", "GMACs", "", number),
    Column("ratio", "ratio", "", ratio),
    Column("notes", "what for"),
)


def listing(cells: Sequence[Cell]) -> str:
    """Lists the runs of every cell with tokens per layer and MACs, and the totals."""
    count = sum(len(cell.listed) for cell in cells)
    lines, listed, distinct, macs = [], 0, 0, 0
    for cell in cells:
        model = functools.cache(functools.partial(_model, cell.config))
        lines += [_headline(cell, model(no_reduction())), _table(cell, model, listed).text()]
        listed += len(cell.listed)
        built = [model(reduction) for reduction in dict.fromkeys(run.effective for run in cell.listed)]
        distinct += len(built)
        macs += sum(one.macs.total for one in built)
    remarks = collections.Counter(run.remark for cell in cells for run in cell.listed if run.remark)
    lines.append(f"{count} runs listed, {distinct} of them different.")
    lines += [f"{times} of those listed: {remark}." for remark, times in remarks.items()]
    lines.append(f"One clip through each of the different ones: {macs / 1e9:.1f} GMACs.")
    return "\n".join(lines)


def _model(config: Config, reduction: Reduction) -> VideoClassifier:
    return build.model(config, reduction)


def _headline(cell: Cell, unmerged: VideoClassifier) -> str:
    different = len(cell.reductions)
    return (
        f"{cell.name}: {cell.config.model.name} on {cell.config.data.name}, {unmerged.input_shape[0]} frames, "
        f"{unmerged.tokens_per_layer[0]} tokens, {number(unmerged.macs.total / 1e9)} GMACs unmerged; "
        f"{len(cell.listed)} runs listed, {different} different reductions"
    )


def _table(cell: Cell, model: Callable[[Reduction], VideoClassifier], before: int) -> Table:
    """One row per run; one that comes to the same as an earlier one says which."""
    unmerged = model(no_reduction()).macs.total
    first: dict[Reduction, int] = {}
    rows = []
    for count, run in enumerate(cell.listed, before + 1):
        one = model(run.effective)
        again = f"as {first[run.effective]}" if run.effective in first else ""
        first.setdefault(run.effective, count)
        rows.append(
            {
                "number": count,
                "run": run_name(run.effective),
                "tokens": tokens_per_layer(one.tokens_per_layer),
                "gmacs": one.macs.total / 1e9,
                "ratio": one.macs.total / unmerged,
                "notes": "; ".join(filter(None, (again, run.purpose, run.remark))),
            }
        )
    return Table(cell.name, _COLUMNS, rows)
