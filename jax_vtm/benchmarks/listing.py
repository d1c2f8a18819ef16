"""What a benchmark would measure, by arithmetic alone: tokens, multiply-accumulates, and the speed-up they allow."""

import dataclasses
from collections.abc import Sequence

from jax_vtm.benchmarks.grid import Setting
from jax_vtm.benchmarks.rows import macs_of
from jax_vtm.reports import wording
from jax_vtm.reports.columns import Column, render


def listing(settings: Sequence[Setting]) -> str:
    """Lists the settings; parts are in percent of a setting's own arithmetic."""
    macs = [macs_of(setting) for setting in settings]
    baselines = {setting.group: macs_of(setting).total for setting in settings if setting.is_baseline}
    parts = ("projections", "attention", "mlp", "matching")
    columns = [
        Column("setting", [[setting.name] for setting in settings], left=True),
        Column(
            "tokens per layer",
            [[wording.tokens_per_layer(setting.model.tokens_per_layer)] for setting in settings],
            left=True,
        ),
        Column("GMACs", [[wording.number(one.total / 1e9)] for one in macs]),
        Column("GFLOP", [[wording.number(2 * one.total / 1e9)] for one in macs]),
        Column(
            "MAC ratio",
            [
                [wording.times(baselines[setting.group] / one.total if setting.group in baselines else None)]
                for setting, one in zip(settings, macs, strict=True)
            ],
        ),
        *(
            Column(f"{part} %", [[f"{100 * dataclasses.asdict(one)[part] / one.total:.1f}"] for one in macs])
            for part in parts
        ),
    ]
    return "\n".join(
        [
            *render(columns),
            "",
            f"{len(settings)} settings. Of one clip, matrix products only; 1 MAC is 2 FLOP. The MAC ratio is what the "
            "unmerged model computes over what is left: the speed-up that arithmetic alone allows.",
        ]
    )
