"""From a config to the experiments of a benchmark: every combination of the values of its axes, each once."""

import dataclasses
import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any

from jax_vtm.config import Config
from jax_vtm.config.grid import ANY, REDUCTION_AXES, Axis, axes_of_words, combinations, whole
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
# Which backends our own program has; others have no such choice.
OUR_BACKENDS = {"attention": BACKENDS, "matching": MATCHINGS, "merging": MERGINGS}

WHERE = "config.benchmark"
AXES = {
    "batch": whole(1, "a whole number of clips"),
    "implementation": Axis(IMPLEMENTATIONS.__contains__, f"one of {', '.join(IMPLEMENTATIONS)}"),
    "truncated": Axis(lambda value: isinstance(value, bool), "True or False"),
    "topology": Axis(lambda value: isinstance(value, str), "a topology such as v5e:2x2"),
    **{f"reduction.{key}": axis for key, axis in REDUCTION_AXES.items()},
    "model.*": ANY,
}
_RENAMED = {"sliced": "truncated", "reduction.r_per_layer": "reduction.r"}


@dataclasses.dataclass(frozen=True, eq=False)
class Experiment:
    """What one row of a benchmark measures.

    Attributes:
        config: A complete config of its model and reduction.
        reduction: What is reduced, without settings that make no difference.
        batch: Clips at a time.
        implementation: One of `IMPLEMENTATIONS`.
        truncated: Whether layers keep their first tokens in place of what the reduction would keep.
        topology: Devices that it is compiled for, where nothing runs.
        name: Says what sets it apart from the others.
    """

    config: Config
    reduction: Reduction
    batch: int = 1
    implementation: str = OURS
    truncated: bool = False
    topology: str = ""
    name: str = ""

    @functools.cached_property
    def model(self) -> VideoClassifier:
        """The model as far as shapes and arithmetic go: whether its backends are there on this device is left open."""
        return build.model(_without_backends(self.config), self.reduction)

    @functools.cached_property
    def macs(self) -> Macs:
        """Multiply-accumulates of one clip; the truncation baseline has no matching."""
        return dataclasses.replace(self.model.macs, matching=0) if self.truncated else self.model.macs

    @functools.cached_property
    def fields(self) -> dict[str, Any]:
        """All of config.model."""
        return self.config.model.to_dict()

    @property
    def weights_fields(self) -> dict[str, Any]:
        """The fields of config.model that say which parameters there are."""
        return {key: value for key, value in self.fields.items() if key not in (*OUR_BACKENDS, "dtype")}

    @property
    def about(self) -> dict[str, Any]:
        """What else sets a group of experiments apart."""
        return {"batch": self.batch, "implementation": self.implementation, "topology": self.topology}

    @property
    def group(self) -> str:
        """Equal for experiments that only differ in what they reduce, and so have the same baseline."""
        return _text({**self.fields, **self.about})

    @property
    def task(self) -> str:
        """Equal for experiments that are the same work for different implementations."""
        work = {"batch": self.batch, "reduction": repr(self.reduction), "truncated": self.truncated}
        return _text({**self.weights_fields, "dtype": self.fields["dtype"], **work})

    @property
    def is_baseline(self) -> bool:
        """Whether nothing is reduced."""
        return self.reduction.mode == "none"


def read_experiments(config: Config) -> list[Experiment]:
    """Reads the experiments of `config.benchmark`, in the order of its grids and their axes.

    Raises:
        UserError: There is no such axis, or a value that cannot be.
    """
    more = axes_of_words(config.benchmark.axes, f"{WHERE}.axes")
    experiments: dict[Any, Experiment] = {}
    for grid in [dict(grid) for grid in config.benchmark.grids] or [{}]:
        for axis in _RENAMED.keys() & (grid | more).keys():
            raise UserError(f"the axis {axis} of {WHERE} is now {_RENAMED[axis]}.")
        for values in combinations({**grid, **more}, AXES, WHERE):
            one = _experiment(config, values)
            experiments.setdefault((one.group, one.task), one)
    return _named(list(experiments.values()))


def _experiment(config: Config, values: Mapping[str, Any]) -> Experiment:
    own = config.copy_and_resolve_references()
    described = [axis for axis in values if axis.startswith("model.")]
    if described and "scenic" in own.model:
        raise UserError(f"{WHERE} has an axis {described[0]!r}, but Scenic's own config describes the model.")
    with own.unlocked(), own.ignore_type():
        for axis, value in values.items():
            section, _, key = axis.rpartition(".")
            if section:
                own[section][key] = value
    implementation, truncated = values.get("implementation", OURS), values.get("truncated", False)
    if implementation != OURS:
        own = _without_backends(own)
        if truncated:
            raise UserError(f"{WHERE}: truncated goes with implementation {OURS}, found {implementation}.")
    reduction = effective(build.reduction(own))
    truncated = truncated and reduction.mode != "none"
    one = Experiment(own, reduction, values.get("batch", 1), implementation, truncated, values.get("topology", ""))
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
        described.append({**fields, **one.about})
    # Batch and implementation come last.
    keys = sorted(dict.fromkeys(("name", *(key for fields in described for key in fields))), key=AXES.__contains__)
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
