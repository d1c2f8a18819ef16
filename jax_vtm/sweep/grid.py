"""From a config to the runs of a sweep: cells, one per model and data set, and the reductions to run in each."""

import dataclasses
import itertools
import numbers
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from jax_vtm.config import Config, default_config, flattened, load_config
from jax_vtm.errors import UserError
from jax_vtm.evaluation import build
from jax_vtm.evaluation.run_names import effective
from jax_vtm.merging import Reduction, no_reduction


@dataclasses.dataclass(frozen=True)
class ListedRun:
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
class Cell:
    """A model on a data set, and what is to be run there.

    Attributes:
        name: What the results call it.
        config: A complete config; its `reduction` is of no account any more.
        listed: In the config's order; some may come to the same.
    """

    name: str
    config: Config
    listed: tuple[ListedRun, ...]

    @property
    def reductions(self) -> list[Reduction]:
        """What there is to evaluate beside the unmerged model, each once."""
        return [r for r in dict.fromkeys(run.effective for run in self.listed) if r.mode != "none"]


def read_cells(config: Config) -> list[Cell]:
    """Reads the sweep that a config describes.

    Without `sweep.cells`, the config's own model and data are the only cell. With them, each cell is another config
    file, with its `changes`; and what the config itself says otherwise than `default_config` goes for every cell.

    Raises:
        UserError: A value that cannot be, no run at all, or a cell that is not there.
    """
    cells = config.sweep.cells
    chosen = config.sweep.cell
    if chosen and chosen not in cells:
        known = f"its cells are {', '.join(cells)}" if cells else "it has no cells"
        raise UserError(f"config.sweep.cell is {chosen!r}; {known}.")
    if not cells:
        return [Cell(config.name, config, tuple(_listed(config, config, ())))]
    if config.model.name:
        raise UserError(
            f"config.sweep.cells name config files, but config.model.name is {config.model.name!r} as well; a config "
            "with cells has no model of its own."
        )
    return [_cell(name, config, entry) for name, entry in cells.items() if not chosen or name == chosen]


def _cell(name: str, config: Config, entry: Mapping[str, Any]) -> Cell:
    if "config" not in entry:
        raise UserError(f"config.sweep.cells.{name} has no 'config', the path of a config file.")
    own = load_config(pathlib.Path(entry["config"]))
    own.update(entry.get("changes", {}))
    own.update_from_flattened_dict(_given(config))
    return Cell(name, own, tuple(_listed(config, own, entry.get("runs", ()))))


def _given(config: Config) -> dict[str, Any]:
    """Returns what a config without a model says otherwise than the defaults, such as paths given as flags."""
    defaults = dict(flattened(default_config(config.name)))
    return {
        key: value
        for key, value in flattened(config)
        if not key.startswith("sweep.") and key in defaults and value != defaults[key] and key != "checkpoint_help"
    }


def _listed(config: Config, own: Config, runs: Sequence[Mapping[str, Any]]) -> Iterator[ListedRun]:
    """Goes through a cell's own runs, the config's, and the product of its lists."""
    entries = [*runs, *config.sweep.runs]
    lists = {key: config.sweep[key] for key in _CHECKS if len(config.sweep[key])}
    if lists or not (entries or len(config.sweep.one_layer.times)):
        entries.append(lists)
    for entry in entries:
        yield from _expanded(dict(entry), own)
    for reduction in _of_one_layer(config, own):
        yield ListedRun(reduction)


def _of_one_layer(config: Config, own: Config) -> Iterator[Reduction]:
    """Multiplies the lists of `sweep.one_layer`, r and times outside, so that layers stand beside each other."""
    lists: dict[str, list[int]] = {}
    for key, values in config.sweep.one_layer.items():
        lists[key] = [values] if _is_whole(values) else list(values)
        least = 0 if key == "layers" else 1
        wrong = [value for value in lists[key] if not _is_whole(value) or value < least]
        if wrong:
            raise UserError(
                f"config.sweep.one_layer.{key} holds {wrong[0]!r}; expected whole numbers of at least {least}."
            )
    if not lists["times"]:
        return
    base = build.reduction(own)
    if base.mode == "none":
        raise UserError(
            "config.reduction.mode is 'none'; config.sweep.one_layer needs a mode that reduces, such as merge."
        )
    amounts = lists["r"] or ([base.r] if isinstance(base.r, int) and base.r else [])
    if not amounts:
        raise UserError(
            f"config.sweep.one_layer.r is empty and config.reduction.r is {base.r}; expected tokens to remove each "
            "time: --config.sweep.one_layer.r=(100,)."
        )
    # Of a factorised encoder, the layers that merge.
    layers = lists["layers"] or range(len(build.model(own, no_reduction()).tokens_per_layer) - 1)
    for r, times, layer in itertools.product(amounts, lists["times"], layers):
        yield dataclasses.replace(
            base, r=(0,) * layer + (r,) * times, inflection=0.0, repeat_layer=(layer, times) if times > 1 else None
        )


def one_layer(reduction: Reduction) -> tuple[int, int] | None:
    """Returns the layer that alone reduces tokens, and how many times in a row; None where there is no such layer."""
    if reduction.mode == "none" or isinstance(reduction.r, int):
        return None
    amounts = tuple(reduction.r)
    first = next((step for step, r in enumerate(amounts) if r), 0)
    layer, times = reduction.repeat_layer or (first, 1)
    steps, others = amounts[layer : layer + times], amounts[:layer] + amounts[layer + times :]
    return (layer, times) if len(steps) == times and all(steps) and not any(others) else None


def _expanded(entry: dict[str, Any], own: Config) -> Iterator[ListedRun]:
    """Multiplies the lists of one entry; what it leaves out is as in the cell's config."""
    base = build.reduction(own)
    words = {key: entry.pop(key, "") for key in ("purpose", "remark")}
    unknown = [key for key in entry if key not in _CHECKS]
    if unknown:
        raise UserError(f"config.sweep: a run has no {unknown[0]!r}; expected {', '.join((*_CHECKS, *words))}.")
    values = {key: _values(key, value) for key, value in entry.items()}
    lists = values.pop("r_per_layer", [])
    slopes = values.pop("inflection", [base.inflection])
    amounts = [(r, slope) for r in values.pop("r", [] if lists else [base.r]) for slope in slopes]
    # A list says its schedule by itself.
    amounts += [(tuple(one), 0.0) for one in lists]
    modes = values.pop("mode", [base.mode])
    for mode, (r, slope), *others in itertools.product(modes, amounts, *values.values()):
        fields = dict(zip(values, others, strict=True))
        reduction = dataclasses.replace(base, mode=mode, r=r, inflection=slope, **fields)
        yield ListedRun(build.fitted(own, reduction), **words)


def _values(key: str, value: Any) -> list[Any]:
    """Reads one value, or a list of them; words may also be separated by commas."""
    fits, expected = _CHECKS[key]
    if isinstance(value, str) or fits(value):
        value = [value]
    if not isinstance(value, (tuple, list, range)):
        raise UserError(f"config.sweep.{key} is {value!r}; expected {expected}, or a list of such.")
    entries = []
    for entry in value:
        entries += [word.strip() for word in entry.split(",")] if isinstance(entry, str) else [entry]
    for entry in entries:
        if not fits(entry):
            raise UserError(f"config.sweep.{key} holds {entry!r}; expected {expected}, or a list of such.")
    return entries


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _are_whole(value: Any) -> bool:
    return isinstance(value, (tuple, list)) and all(map(_is_whole, value))


def _is_word(value: Any) -> bool:
    return isinstance(value, str)


# Every axis of a sweep: whether something is one value of it, and what to say if not.
_CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "mode": (_is_word, "a mode such as merge"),
    "r": (_is_whole, "a whole number of tokens"),
    "r_per_layer": (_are_whole, "a list with one whole number per layer"),
    "inflection": (_is_number, "a number from -1 to 1"),
    "head_aggregation": (_is_word, "mean or concat"),
    "proportional_attention": (lambda value: value is None or isinstance(value, bool), "True, False or None"),
    "threshold": (_is_number, "a cosine similarity"),
    "layout": (_is_word, "reference or fixed"),
    "repeat_layer": (
        lambda value: value is None or (_are_whole(value) and len(value) == 2),
        "(layer, times) or None",
    ),
}
