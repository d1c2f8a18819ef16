"""Reductions as runs: what each is called, and which of them come to the same."""

import dataclasses
import itertools
from collections.abc import Sequence

from jax_vtm.merging import Reduction, no_reduction

UNMERGED = "unmerged"

SCHEDULES = {-1.0: "decreasing", 1.0: "increasing"}


def effective(reduction: Reduction) -> Reduction:
    """Sets what makes no difference to one value, so that reductions that do the same are equal."""
    if reduction.repeat_layer is not None and reduction.repeat_layer[1] == 1:
        reduction = dataclasses.replace(reduction, repeat_layer=None)
    if reduction.mode == "none" or (_layers_keep_all(reduction) and reduction.input is None):
        return no_reduction()
    if _layers_keep_all(reduction):
        kept = ("input", "layout", "proportional_attention")
        return Reduction(**{field: getattr(reduction, field) for field in kept})
    if not isinstance(reduction.r, int):
        reduction = reduction.with_modes(reduction.modes[: len(reduction.r)])
    return dataclasses.replace(
        reduction,
        threshold=float(reduction.threshold) if "hybrid" in reduction.modes else 0.0,
        inflection=float(reduction.inflection),
        proportional_attention=reduction.proportional_attention if reduction.has_sizes else True,
        mean="weighted" if reduction.drops else reduction.mean,
        head_aggregation=reduction.head_aggregation if reduction.compares else "mean",
    )


def _layers_keep_all(reduction: Reduction) -> bool:
    amounts = (reduction.r,) if isinstance(reduction.r, int) else reduction.r
    return not any(amounts) and reduction.repeat_layer is None


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
    parts = [f"{mode_name(reduction.mode)} r={_amount(reduction.r)}"]
    if (kept := reduction.input) is not None:
        if _layers_keep_all(reduction):
            reduction, parts = effective(reduction), []
        parts.append(f"input {kept.keep} by {kept.by}")
    if reduction.inflection:
        parts.append(SCHEDULES.get(reduction.inflection, f"inflection {reduction.inflection:g}"))
    if "hybrid" in reduction.modes:
        parts.append(f"threshold {reduction.threshold:g}")
    if reduction.head_aggregation != "mean":
        parts.append(f"{reduction.head_aggregation} heads")
    if reduction.proportional_attention is not True:
        known = "no" if reduction.proportional_attention is False else "the model's"
        parts.append(f"{known} proportional attention")
    if reduction.mean != "weighted":
        parts.append("norm-preserving")
    if reduction.importance != "similarity":
        parts.append(f"by {reduction.importance}")
    if reduction.layout != "reference":
        parts.append(f"{reduction.layout} layout")
    if reduction.repeat_layer is not None:
        layer, times = reduction.repeat_layer
        parts.append(f"layer {layer} {times} times")
    return ", ".join(parts)


def mode_name(mode: str | Sequence[str]) -> str:
    """Writes a mode, or one per layer: `drop x 2 then merge`."""
    groups = [(one, len(list(same))) for one, same in itertools.groupby([mode] if isinstance(mode, str) else mode)]
    *counted, (last, _) = groups
    return " then ".join([*(f"{one} x {count}" if count > 1 else one for one, count in counted), last])


def _amount(r: int | Sequence[int]) -> str:
    """Writes a list with repetitions counted: `[300 x 12, 0]`."""
    if isinstance(r, int):
        return str(r)
    groups = [(value, len(list(same))) for value, same in itertools.groupby(r)]
    return f"[{', '.join(f'{value} x {count}' if count > 1 else str(value) for value, count in groups)}]"
