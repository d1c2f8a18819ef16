"""From a config to the experiments of a benchmark: every combination of the values of its axes, each once."""

import ast
import dataclasses
import difflib
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jax_vtm.config import Config
from jax_vtm.errors import UserError
from jax_vtm.evaluation import build
from jax_vtm.evaluation.run_names import effective, run_name
from jax_vtm.merging import MATCHINGS, MERGINGS, Reduction
from jax_vtm.models import VideoClassifier
from jax_vtm.models.attention import BACKENDS
from jax_vtm.models.macs import Macs
from jax_vtm.models.video import check_choice

OURS = "jax_vtm"
# The other implementations: the same arithmetic with the same weights.
PYTORCH = {
    "pytorch_eager": "PyTorch eager",
    "pytorch_sdpa": "PyTorch SDPA",
    "pytorch_compiled": "PyTorch SDPA, compiled",
}
IMPLEMENTATIONS = (OURS, *PYTORCH)

# Axes beside all keys of config.model and config.reduction.
AXES = ("batch", "implementation", "truncated")
REDUCTION_KEYS = tuple(field.name for field in dataclasses.fields(Reduction))
_RENAMED_AXES = {"sliced": "truncated", "reduction.r_per_layer": "reduction.r"}

# Which backends our own program has; others have no such choice.
OUR_BACKENDS = {"attention": BACKENDS, "matching": MATCHINGS, "merging": MERGINGS}


@dataclasses.dataclass(frozen=True, eq=False)
class Experiment:
    """What one row of a benchmark measures.

    Attributes:
        config: A complete config of its model and reduction.
        reduction: What is reduced, without settings that make no difference.
        batch: Clips at a time.
        implementation: One of `IMPLEMENTATIONS`.
        truncated: Whether layers keep their first tokens in place of what the reduction would keep.
        name: Says what sets it apart from the others.
    """

    config: Config
    reduction: Reduction
    batch: int = 1
    implementation: str = OURS
    truncated: bool = False
    name: str = ""

    @property
    def model(self) -> VideoClassifier:
        """The model as far as shapes and arithmetic go: whether its backends are there on this device is left open."""
        return build.model(_without_backends(self.config), self.reduction)

    @property
    def macs(self) -> Macs:
        """Multiply-accumulates of one clip; the truncation baseline has no matching."""
        macs = self.model.macs
        return dataclasses.replace(macs, matching=0) if self.truncated else macs

    @property
    def fields(self) -> dict[str, Any]:
        """All of config.model."""
        return self.config.model.to_dict()

    @property
    def group(self) -> str:
        """Equal for experiments that only differ in what they reduce, and so have the same baseline."""
        return _text({**self.fields, "batch": self.batch, "implementation": self.implementation})

    @property
    def task(self) -> str:
        """Equal for experiments that are the same work for different implementations."""
        return _text({**self.weights_fields, "dtype": self.fields["dtype"], **self._work})

    @property
    def weights_fields(self) -> dict[str, Any]:
        """The fields of config.model that say which parameters there are."""
        return {key: value for key, value in self.fields.items() if key not in (*OUR_BACKENDS, "dtype")}

    @property
    def _work(self) -> dict[str, Any]:
        return {"batch": self.batch, "reduction": repr(self.reduction), "truncated": self.truncated}

    @property
    def is_baseline(self) -> bool:
        """Whether nothing is reduced."""
        return self.reduction.mode == "none"


def read_experiments(config: Config) -> list[Experiment]:
    """Reads the experiments of `config.benchmark`, in the order of its grids and their axes.

    Raises:
        UserError: There is no such axis, or a value that cannot be.
    """
    more = axes_of_words(config.benchmark.axes)
    experiments: dict[Any, Experiment] = {}
    for grid in [dict(grid) for grid in config.benchmark.grids] or [{}]:
        for values in _combinations({**grid, **more}):
            one = _experiment(config, values)
            experiments.setdefault((one.group, one.task), one)
    return _named(list(experiments.values()))


def axes_of_words(text: str) -> dict[str, Any]:
    """Reads axes as a command line has them, such as "reduction.r=0,100 model.attention=xla,chunked batch=1,8".

    Raises:
        UserError: A word is not of the form axis=value,value.
    """
    axes = {}
    # Spaces and commas within brackets belong to a value.
    for word in re.findall(r"(?:\([^)]*\)|\[[^\]]*\]|\S)+", text):
        axis, _, values = word.partition("=")
        if not values:
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
    lists = [value if isinstance(value, (tuple, list, range)) else (value,) for value in grid.values()]
    for axis, values in zip(grid, lists, strict=True):
        _check_axis(axis)
        if not len(values):
            raise UserError(f"config.benchmark: the axis {axis} has no values; give at least one, or leave it out.")
    for values in itertools.product(*lists):
        yield dict(zip(grid, values, strict=True))


def _check_axis(axis: str) -> None:
    section, _, key = axis.rpartition(".")
    if axis in AXES or (section == "model" and key) or (section == "reduction" and key in REDUCTION_KEYS):
        return
    if axis in _RENAMED_AXES:
        raise UserError(f"the axis {axis} of config.benchmark is now {_RENAMED_AXES[axis]}.")
    known = (*AXES, *(f"reduction.{key}" for key in REDUCTION_KEYS), "model.name", "model.dtype", "model.attention")
    close = difflib.get_close_matches(axis, known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise UserError(
        f"config.benchmark has an axis {axis!r}, which there is not.{hint} Axes are {', '.join(AXES)}, model.KEY with "
        f"any field of the model, and reduction.KEY with one of {', '.join(REDUCTION_KEYS)}."
    )


def _experiment(config: Config, values: Mapping[str, Any]) -> Experiment:
    own = config.copy_and_resolve_references()
    described = [axis for axis in values if axis.startswith("model.")]
    if described and "scenic" in own.model:
        raise UserError(f"config.benchmark has an axis {described[0]!r}, but Scenic's own config describes the model.")
    with own.unlocked(), own.ignore_type():
        for axis, value in values.items():
            section, _, key = axis.rpartition(".")
            if section:
                own[section][key] = value
    batch, implementation, truncated = (
        values.get(axis, default) for axis, default in zip(AXES, (1, OURS, False), strict=True)
    )
    if not isinstance(batch, int) or isinstance(batch, bool) or batch < 1:
        raise UserError(f"config.benchmark: batch is {batch!r}; expected a whole number of clips, at least 1.")
    check_choice("implementation", implementation, IMPLEMENTATIONS)
    if not isinstance(truncated, bool):
        raise UserError(f"config.benchmark: truncated is {truncated!r}; expected True or False.")
    if implementation != OURS:
        own = _without_backends(own)
        if truncated:
            raise UserError(f"config.benchmark: truncated goes with implementation {OURS}, found {implementation}.")
    reduction = effective(build.reduction(own))
    one = Experiment(own, reduction, batch, implementation, truncated and reduction.mode != "none")
    # What is wrong with the model's fields or the reduction shows here, before anything is measured.
    assert one.model.tokens_per_layer
    for key, known in OUR_BACKENDS.items():
        check_choice(f"model.{key}", one.fields.get(key, "auto"), known)
    return one


def _without_backends(config: Config) -> Config:
    own = config.copy_and_resolve_references()
    with own.unlocked():
        own.model.update(dict.fromkeys(OUR_BACKENDS, "auto"))
    return own


def _named(experiments: Sequence[Experiment]) -> list[Experiment]:
    """Gives every experiment a name of what differs between them."""
    described = []
    for one in experiments:
        fields = one.fields if one.implementation == OURS else {**one.weights_fields, "dtype": one.fields["dtype"]}
        described.append({**fields, "batch": one.batch, "implementation": one.implementation})
    keys = dict.fromkeys(("name", *(key for fields in described for key in fields)))
    # Batch and implementation come last.
    keys = sorted(keys, key=AXES.__contains__)
    differing = [key for key in keys if len({_text(fields[key]) for fields in described if key in fields}) > 1]
    # Each model has its own default, which goes without saying.
    merged = {(one.fields["name"], one.reduction.proportional_attention) for one in experiments if not one.is_baseline}
    proportions_differ = len(merged) > len({name for name, _ in merged})
    named = []
    for one, fields in zip(experiments, described, strict=True):
        bare = ("name", "dtype", "implementation")
        parts = [f"{'' if key in bare else f'{key} '}{fields[key]}" for key in differing if key in fields]
        reduction = one.reduction
        if not proportions_differ:
            reduction = dataclasses.replace(reduction, proportional_attention=True)
        parts.append(run_name(reduction) + (", truncated" if one.truncated else ""))
        named.append(dataclasses.replace(one, name=" · ".join(parts)))
    return named


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)
