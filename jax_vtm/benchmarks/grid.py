"""From a config to the settings of a benchmark: every combination of the values of its axes, each once."""

import ast
import dataclasses
import difflib
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from jax_vtm.config import Config
from jax_vtm.errors import UserError
from jax_vtm.evaluation import build
from jax_vtm.evaluation.run_names import effective, run_name
from jax_vtm.merging import MATCHINGS, MERGINGS, Reduction, no_reduction
from jax_vtm.models import VideoClassifier
from jax_vtm.models.attention import BACKENDS
from jax_vtm.models.video import check_choice

OURS = "jax_vtm"

# The other implementations, all of the same arithmetic with the same weights, and what they are in their own words.
PYTORCH = {"pytorch_eager": "eager", "pytorch_sdpa": "sdpa", "pytorch_compiled": "compiled"}
IMPLEMENTATIONS = (OURS, *PYTORCH)

# Axes beside all keys of config.model and config.reduction.
AXES = ("batch", "implementation", "sliced")

REDUCTION_KEYS = ("r_per_layer", *(field.name for field in dataclasses.fields(Reduction)))

# How our own program does things, and what is known; others have no such choice.
OUR_WAYS = {"attention": BACKENDS, "matching": MATCHINGS, "merging": MERGINGS}


@dataclasses.dataclass(frozen=True, eq=False)
class Setting:
    """What one row of a benchmark measures.

    Attributes:
        name: Says what sets it apart from the others.
        config: A complete config of its model and reduction.
        reduction: What is reduced, without settings that make no difference.
        batch: Clips at a time.
        implementation: One of `IMPLEMENTATIONS`.
        sliced: Whether layers keep their first tokens in place of what the reduction would keep.
    """

    name: str
    config: Config
    reduction: Reduction
    batch: int = 1
    implementation: str = OURS
    sliced: bool = False

    @property
    def model(self) -> VideoClassifier:
        """The model as far as shapes and arithmetic go: whether its ways are there on this device is left open."""
        return build.model(_with_open_ways(self.config), self.reduction)

    @property
    def runnable(self) -> VideoClassifier:
        """The model with its ways.

        Raises:
            UserError: One of them is not there on this device.
        """
        return build.model(self.config, self.reduction)

    @property
    def fields(self) -> dict[str, Any]:
        """All of config.model."""
        return self.config.model.to_dict()

    @property
    def group(self) -> str:
        """Equal for settings that only differ in what they reduce, and so have the same baseline."""
        return _text({**self.fields, "batch": self.batch, "implementation": self.implementation})

    @property
    def task(self) -> str:
        """Equal for settings that are the same work for different implementations."""
        fields = {key: value for key, value in self.fields.items() if key not in OUR_WAYS}
        return _text({**fields, "batch": self.batch, "reduction": repr(self.reduction), "sliced": self.sliced})

    @property
    def is_baseline(self) -> bool:
        """Whether nothing is reduced."""
        return self.reduction.mode == "none"


def _with_open_ways(config: Config) -> Config:
    own = config.copy_and_resolve_references()
    with own.unlocked():
        for way in OUR_WAYS:
            own.model[way] = "auto"
    return own


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def read_settings(config: Config) -> list[Setting]:
    """Reads the settings of `config.benchmark`, in the order of its grids and their axes.

    Raises:
        UserError: There is no such axis, or a value that cannot be.
    """
    grids = [dict(grid) for grid in config.benchmark.grids] or [{}]
    more = axes_of_words(config.benchmark.axes)
    settings = {}
    for grid in grids:
        for values in _combinations({**grid, **more}):
            setting = _setting(config, values)
            settings.setdefault((setting.group, setting.task), setting)
    return _named(list(settings.values()))


def axes_of_words(text: str) -> dict[str, Any]:
    """Reads axes as a command line has them, such as "reduction.r=0,100 model.attention=xla,chunked batch=1,8".

    Raises:
        UserError: A word is not of the form axis=value,value.
    """
    axes = {}
    # Spaces and commas within brackets belong to a value.
    for word in re.findall(r"(?:\([^)]*\)|\[[^\]]*\]|\S)+", text):
        axis, equals, values = word.partition("=")
        if not equals or not values:
            raise UserError(
                f"config.benchmark.axes holds {word!r}; expected axis=value,value such as reduction.r=0,100."
            )
        axes[axis] = tuple(_value(one) for one in re.findall(r"(?:\([^)]*\)|\[[^\]]*\]|[^,])+", values))
    return axes


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _combinations(grid: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for axis in grid:
        _check_axis(axis)
    lists = [value if isinstance(value, (tuple, list, range)) else (value,) for value in grid.values()]
    for axis, values in zip(grid, lists, strict=True):
        if not len(values):
            raise UserError(f"config.benchmark: the axis {axis} has no values; give at least one, or leave it out.")
    for values in itertools.product(*lists):
        yield dict(zip(grid, values, strict=True))


def _check_axis(axis: str) -> None:
    section, _, key = axis.rpartition(".")
    if axis in AXES or (section == "model" and key) or (section == "reduction" and key in REDUCTION_KEYS):
        return
    known = (*AXES, *(f"reduction.{key}" for key in REDUCTION_KEYS), "model.name", "model.dtype", "model.attention")
    close = difflib.get_close_matches(axis, known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise UserError(
        f"config.benchmark has an axis {axis!r}, which there is not.{hint} Axes are {', '.join(AXES)}, model.KEY with "
        f"any field of the model, and reduction.KEY with one of {', '.join(REDUCTION_KEYS)}."
    )


def _setting(config: Config, values: Mapping[str, Any]) -> Setting:
    own = config.copy_and_resolve_references()
    described = [axis for axis in values if axis.startswith("model.")]
    if described and "scenic" in own.model:
        raise UserError(f"config.benchmark has an axis {described[0]!r}, but Scenic's own config describes the model.")
    with own.unlocked(), own.ignore_type():
        for axis, value in values.items():
            section, _, key = axis.rpartition(".")
            if section:
                own[section][key] = value
    batch, implementation = values.get("batch", 1), values.get("implementation", OURS)
    if not isinstance(batch, int) or isinstance(batch, bool) or batch < 1:
        raise UserError(f"config.benchmark: batch is {batch!r}; expected a whole number of clips, at least 1.")
    if implementation not in IMPLEMENTATIONS:
        raise UserError(f"implementation is {implementation!r}; known are {', '.join(IMPLEMENTATIONS)}.")
    sliced = values.get("sliced", False)
    if not isinstance(sliced, bool):
        raise UserError(f"config.benchmark: sliced is {sliced!r}; expected True or False.")
    reduction = _effective(build.reduction(own))
    if implementation != OURS:
        own = _with_open_ways(own)
        if sliced:
            raise UserError(f"config.benchmark: sliced goes with implementation {OURS} alone, found {implementation}.")
    setting = Setting("", own, reduction, batch, implementation, sliced and reduction.mode != "none")
    # What is wrong with the model's fields or the reduction shows here, before anything is measured.
    assert setting.model.tokens_per_layer
    for way, known in OUR_WAYS.items():
        check_choice(f"model.{way}", setting.fields.get(way, "auto"), known)
    return setting


def _effective(reduction: Reduction) -> Reduction:
    return no_reduction() if reduction.mode == "none" else effective(reduction)


def _named(settings: Sequence[Setting]) -> list[Setting]:
    """Gives every setting a name of what differs between them."""

    def differ(values: Iterable[Any]) -> bool:
        return len(set(map(_text, values))) > 1

    def fields(setting: Setting) -> dict[str, Any]:
        ways = OUR_WAYS if setting.implementation != OURS else ()
        return {key: value for key, value in setting.fields.items() if key not in ways}

    keys = [
        key
        for key in dict.fromkeys(("name", *(key for setting in settings for key in fields(setting))))
        if differ(fields(setting)[key] for setting in settings if key in fields(setting))
    ]
    batches = differ(setting.batch for setting in settings)
    implementations = differ(setting.implementation for setting in settings)
    # Each model has its own default, which goes without saying.
    proportions = {
        (setting.fields["name"], setting.reduction.proportional_attention)
        for setting in settings
        if not setting.is_baseline
    }
    proportions_differ = len(proportions) > len({name for name, _ in proportions})
    named = []
    for setting in settings:
        parts = [_field(key, fields(setting)[key]) for key in keys if key in fields(setting)]
        parts += [f"batch {setting.batch}"] if batches else []
        parts += [setting.implementation] if implementations else []
        reduction = setting.reduction
        if not proportions_differ:
            # What all have in common is not worth a word.
            reduction = dataclasses.replace(reduction, proportional_attention=True)
        parts.append(run_name(reduction) + (", sliced" if setting.sliced else ""))
        named.append(dataclasses.replace(setting, name=" · ".join(parts)))
    return named


def _field(key: str, value: Any) -> str:
    return str(value) if key in ("name", "dtype") else f"{key} {value}"
