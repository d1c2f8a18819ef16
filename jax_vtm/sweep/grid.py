"""From a config to the runs of a sweep: experiments, each a model on a data set, and the reductions to run there."""

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

TEXTS = ("purpose", "remark")


@dataclasses.dataclass(frozen=True)
class Run:
    """A run as the config lists it.

    Attributes:
        reduction: What is asked for.
        purpose: What the config says it is for.
        remark: What the config says about it otherwise.
    """

    reduction: Reduction
    purpose: str = ""
    remark: str = ""

    @property
    def effective(self) -> Reduction:
        """The reduction without settings that make no difference; equal runs give the same predictions."""
        return effective(self.reduction)


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A model on a data set, and what is to be run there.

    Attributes:
        name: What the results call it.
        config: A complete config; its `reduction` is of no account any more.
        runs: In the config's order; some may come to the same.
    """

    name: str
    config: Config
    runs: tuple[Run, ...]

    @property
    def reductions(self) -> list[Reduction]:
        """What there is to evaluate next to the unmerged model, each once."""
        return [r for r in dict.fromkeys(run.effective for run in self.runs) if r.mode != "none"]


def read_experiments(config: Config) -> list[Experiment]:
    """Reads the sweep that a config describes.

    Without `sweep.experiments`, the config's own model and data are the only one. With them, each is another config
    file, with its `changes`; and what the config itself says otherwise than `default_config` goes for all of them.

    Raises:
        UserError: A value that cannot be, or an experiment that is not there.
    """
    entries, chosen = config.sweep.experiments, config.sweep.experiment
    if config.study.what == "layers":
        raise UserError(
            "the study of layers is a study now: python main.py study --config=configs/layer_duplication.py, or any "
            "other config with --config.study.what=layers."
        )
    if chosen and chosen not in entries:
        known = f"its experiments are {', '.join(entries)}" if entries else "it has no experiments"
        raise UserError(f"config.sweep.experiment is {chosen!r}; {known}.")
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
    # What a config without a model says otherwise than the defaults, such as paths given as flags.
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
    """Goes through an experiment's own runs, the config's, and the product of its lists."""
    entries = [*listed, *config.sweep.runs]
    lists = {key: config.sweep[key] for key in REDUCTION_AXES if len(config.sweep[key])}
    if lists or not entries:
        entries.append(lists)
    for entry in entries:
        yield from _expanded(dict(entry), own)


def _expanded(entry: dict[str, Any], own: Config) -> Iterator[Run]:
    """Multiplies the lists of one entry; what it leaves out is as in the experiment's config."""
    where, base = "config.sweep", build.reduction(own)
    texts = {key: entry.pop(key, "") for key in TEXTS}
    amounts = values_of("r", entry.pop("r", [base.r]), REDUCTION_AXES, where)
    slopes = values_of("inflection", entry.pop("inflection", base.inflection), REDUCTION_AXES, where)
    mode = {"mode": entry.pop("mode")} if "mode" in entry else {}
    for first in combinations(mode, REDUCTION_AXES, where):
        for r in amounts:
            # A list says its schedule by itself.
            for slope in slopes if isinstance(r, int) else [0.0]:
                for fields in combinations(entry, REDUCTION_AXES, where):
                    reduction = dataclasses.replace(base, r=r, inflection=slope, **first, **fields)
                    yield Run(build.fitted(own, reduction), **texts)
