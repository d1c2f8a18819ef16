"""Reductions as runs: what each is called, and which of them come to the same."""

import dataclasses
import itertools
from collections.abc import Sequence

from jax_vtm.merging import Reduction, no_reduction

UNMERGED = "unmerged"

SCHEDULES = {-1.0: "decreasing", 1.0: "increasing"}


def effective(reduction: Reduction) -> Reduction:
    """Sets what makes no difference to one value, so that reductions that do the same are equal."""
    amounts = (reduction.r,) if isinstance(reduction.r, int) else reduction.r
    if reduction.repeat_layer is not None and reduction.repeat_layer[1] == 1:
        reduction = dataclasses.replace(reduction, repeat_layer=None)
    if reduction.mode == "none" or (not any(amounts) and reduction.repeat_layer is None and reduction.input is None):
        return no_reduction()
    return dataclasses.replace(
        reduction,
        threshold=float(reduction.threshold) if reduction.mode == "hybrid" else 0.0,
        inflection=float(reduction.inflection),
        proportional_attention=reduction.proportional_attention if reduction.has_sizes else True,
        mean="weighted" if reduction.drops else reduction.mean,
        head_aggregation="mean" if reduction.is_random else reduction.head_aggregation,
    )


def remarks(reduction: Reduction, num_steps: int) -> list[str]:
    """Says what may be a mistake: a list that ends before the layers do.

    Args:
        reduction: What is asked for.
        num_steps: Layers of the model that reduce, repetitions counted.
    """
    if reduction.mode == "none" or isinstance(reduction.r, int) or len(reduction.r) >= num_steps:
        return []
    return [f"r lists {len(reduction.r)} of the model's {num_steps} layers; the others remove nothing."]


def run_name(reduction: Reduction) -> str:
    """Names a run by all that sets it apart, such as "merge r=100" or "drop r=100, decreasing"."""
    if reduction.mode == "none":
        return UNMERGED
    parts = [f"{reduction.mode} r={_amount(reduction.r)}"]
    if reduction.input is not None:
        parts.append(f"input {reduction.input.keep} by {reduction.input.by}")
    if reduction.inflection:
        parts.append(SCHEDULES.get(reduction.inflection, f"inflection {reduction.inflection:g}"))
    if reduction.mode == "hybrid":
        parts.append(f"threshold {reduction.threshold:g}")
    if reduction.head_aggregation != "mean":
        parts.append(f"{reduction.head_aggregation} heads")
    if reduction.proportional_attention is not True:
        known = "no" if reduction.proportional_attention is False else "the model's"
        parts.append(f"{known} proportional attention")
    if reduction.mean != "weighted":
        parts.append("norm-preserving")
    if reduction.layout != "reference":
        parts.append(f"{reduction.layout} layout")
    if reduction.repeat_layer is not None:
        layer, times = reduction.repeat_layer
        parts.append(f"layer {layer} {times} times")
    return ", ".join(parts)


def _amount(r: int | Sequence[int]) -> str:
    """Writes a list with repetitions counted: `[300 x 12, 0]`."""
    if isinstance(r, int):
        return str(r)
    groups = [(value, len(list(same))) for value, same in itertools.groupby(r)]
    return f"[{', '.join(f'{value} x {count}' if count > 1 else str(value) for value, count in groups)}]"
