"""Reads the experiments of a sweep, each a model on a data set, and their runs from the config."""

import dataclasses
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jax_vtm.config import Config, default_config, flattened, load_config
from jax_vtm.config.grid import REDUCTION_AXES, combinations, values_of
from jax_vtm.errors import UserError
from jax_vtm.evaluation import build
from jax_vtm.evaluation.run_names import effective
from jax_vtm.merging import Reduction

TEXTS = ("purpose", "remark", "series")


@dataclasses.dataclass(frozen=True)
class Run:
    """A run of the config.

    Attributes:
        reduction: What it does.
        purpose: What it is for.
        remark: What is to be known of it.
        series: Name that runs share which are one curve at equal cost, though they differ in more than r.
    """

    reduction: Reduction
    purpose: str = ""
    remark: str = ""
    series: str = ""

    @property
    def effective(self) -> Reduction:
        """The reduction without settings that have no effect; runs with equal ones give the same predictions."""
        return effective(self.reduction)


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A model on a data set, with its config (whose `reduction` is unused) and its runs, which may repeat."""

    name: str
    config: Config
    runs: tuple[Run, ...]

    @property
    def reductions(self) -> list[Reduction]:
        """The different reductions, without the unmerged model."""
        return [r for r in dict.fromkeys(run.effective for run in self.runs) if r.mode != "none"]


def read_experiments(config: Config) -> list[Experiment]:
    """Reads the experiments of a config.

    Without `sweep.experiments`, the config's own model and data are the only one. Otherwise each is another config file
    with its `changes`, and with all values of this config that are not defaults.

    Raises:
        UserError: A value is invalid, or there is no such experiment.
    """
    entries, chosen = config.sweep.experiments, config.sweep.experiment
    if config.study.what == "layers":
        raise UserError(
            "the study of layers is a command of its own: study --config=layer_duplication, or any other config with "
            "--config.study.what=layers."
        )
    if chosen and chosen not in entries:
        names = f"its experiments are {', '.join(entries)}" if entries else "it has no experiments"
        raise UserError(f"config.sweep.experiment is {chosen!r}; {names}.")
    if not entries:
        return [Experiment(config.name, config, tuple(_runs(config, config, ())))]
    if config.model.name:
        raise UserError(
            f"config.sweep.experiments name config files, but config.model.name is {config.model.name!r} as well; a "
            "config with experiments has no model of its own."
        )
    return [_experiment(name, config, entry) for name, entry in entries.items() if not chosen or name == chosen]


def _experiment(name: str, config: Config, entry: Mapping[str, Any]) -> Experiment:
    if "config" not in entry:
        raise UserError(f"config.sweep.experiments.{name} has no 'config', the path of a config file.")
    own = load_config(pathlib.Path(entry["config"]))
    own.update(entry.get("changes", {}))
    # Values that differ from the defaults, such as paths given as flags.
    defaults = dict(flattened(default_config(config.name)))
    own.update_from_flattened_dict(
        {
            key: value
            for key, value in flattened(config)
            if not key.startswith("sweep.") and key in defaults and value != defaults[key]
        }
    )
    return Experiment(name, own, tuple(_runs(config, own, entry.get("runs", ()))))


def _runs(config: Config, own: Config, listed: Sequence[Mapping[str, Any]]) -> Iterator[Run]:
    """Yields an experiment's own runs, the config's runs, and the product of its lists."""
    entries = [*listed, *config.sweep.runs]
    lists = {key: config.sweep[key] for key in REDUCTION_AXES if len(config.sweep[key])}
    if lists or not entries:
        entries.append(lists)
    for entry in entries:
        yield from _expanded(dict(entry), own)


def _expanded(entry: dict[str, Any], own: Config) -> Iterator[Run]:
    """Yields the runs of one entry's lists; other settings are those of the experiment's config."""
    # Read as a whole with what the entry gives: a base may hold only with the entry's mode.
    where, base = "config.sweep", own.reduction.to_dict()
    texts = {key: entry.pop(key, "") for key in TEXTS}
    for key, text in texts.items():
        if not isinstance(text, str):
            raise UserError(f"{where}.runs: {key} is {text!r}; expected a text.")
    amounts = values_of("r", entry.pop("r"), REDUCTION_AXES, where) if "r" in entry else [base["r"]]
    slopes = values_of("inflection", entry.pop("inflection", base["inflection"]), REDUCTION_AXES, where)
    mode = {"mode": entry.pop("mode")} if "mode" in entry else {}
    for first in combinations(mode, REDUCTION_AXES, where):
        for r in amounts:
            # A list is its own schedule.
            for slope in slopes if isinstance(r, int) else [0.0]:
                for fields in combinations(entry, REDUCTION_AXES, where):
                    given = {**base, "r": r, "inflection": slope, **first, **fields}
                    yield Run(build.fitted(own, Reduction(**given)), **texts)
