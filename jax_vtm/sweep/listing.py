"""What a sweep would run, in words: nothing but the models' shapes is looked at."""

import collections
import functools
from collections.abc import Callable, Sequence

from jax_vtm.config import Config
from jax_vtm.merging import Reduction, no_reduction
from jax_vtm.models import VideoClassifier
from jax_vtm.reports import wording
from jax_vtm.running import build
from jax_vtm.running.reductions import run_name
from jax_vtm.sweep.grid import Cell


def listing(cells: Sequence[Cell]) -> str:
    """Lists the runs of every cell with tokens per layer and MACs, and the totals."""
    count = sum(len(cell.listed) for cell in cells)
    digits = len(str(count))
    lines, number, distinct, macs = [], 0, 0, 0
    for cell in cells:
        model = functools.cache(functools.partial(_model, cell.config))
        lines += [_headline(cell, model(no_reduction())), *_table(cell, model, number, digits), ""]
        number += len(cell.listed)
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
        f"{unmerged.tokens_per_layer[0]} tokens, {wording.number(unmerged.macs.total / 1e9)} GMACs unmerged; "
        f"{len(cell.listed)} runs listed, {different} different reductions"
    )


def _table(cell: Cell, model: Callable[[Reduction], VideoClassifier], before: int, digits: int) -> list[str]:
    """One line per run; one that comes to the same as an earlier one says which."""
    unmerged = model(no_reduction()).macs.total
    first: dict[Reduction, int] = {}
    rows = [("", "run", "tokens per layer", "GMACs", "ratio", "what for")]
    for number, run in enumerate(cell.listed, before + 1):
        one = model(run.effective)
        again = f"as {first[run.effective]}" if run.effective in first else ""
        first.setdefault(run.effective, number)
        notes = "; ".join(filter(None, (again, run.purpose, run.remark)))
        rows.append(
            (
                str(number).rjust(digits),
                run_name(run.effective),
                wording.tokens_per_layer(one.tokens_per_layer),
                wording.number(one.macs.total / 1e9),
                wording.ratio(one.macs.total / unmerged),
                notes,
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    return [
        "  ".join(
            text.rjust(width) if column in (3, 4) else text.ljust(width)
            for column, (text, width) in enumerate(zip(row, [*widths, 0], strict=True))
        ).rstrip()
        for row in rows
    ]
