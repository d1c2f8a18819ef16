"""Models by name, and what else is known of them."""

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from jax_vtm.errors import UserError
from jax_vtm.merging import Reduction
from jax_vtm.models.motionformer import Motionformer
from jax_vtm.models.timesformer import TimeSformer
from jax_vtm.models.video import VideoClassifier
from jax_vtm.models.videomae import VideoMAE
from jax_vtm.models.vivit import FactorisedEncoderViViT, ViViT


@dataclasses.dataclass(frozen=True)
class Preset:
    """A released architecture.

    Attributes:
        build: The model's class.
        fields: Its fields as released; whatever is not named keeps the class's default.
        source: Where the architecture, and its weights if any, come from.
    """

    build: type[VideoClassifier]
    fields: Mapping[str, Any]
    source: str

    def __post_init__(self):
        object.__setattr__(self, "fields", MappingProxyType(dict(self.fields)))


_LARGE = {"spatial_layers": 24, "spatial_heads": 16, "spatial_mlp_dim": 4096, "hidden_size": 1024}
_LARGE_TIME = {"temporal_heads": 16, "temporal_mlp_dim": 4096}

PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "vivit_b_16x2": Preset(
            ViViT,
            {"num_classes": 400},
            "Scenic, ViViT-B/16x2 unfactorised, Kinetics-400; 79.9 top-1 with 4x3 views",
        ),
        "vivit_b_16x2_fe": Preset(
            FactorisedEncoderViViT,
            {"num_classes": 400},
            "Scenic, ViViT-B/16x2 factorised encoder, Kinetics-400; 78.4 top-1 with 4x3 views",
        ),
        "vivit_l_16x2_fe": Preset(
            FactorisedEncoderViViT,
            {"num_classes": 400, **_LARGE, **_LARGE_TIME, "temporal_layers": 24},
            "Scenic, ViViT-L/16x2 factorised encoder, Kinetics-400 (80.3 top-1 with 4x3 views) and -600 (81.6)",
        ),
        "vivit_l_16x2_fe_epic": Preset(
            FactorisedEncoderViViT,
            {"num_classes": {"noun": 300, "verb": 97}, **_LARGE, **_LARGE_TIME, "temporal_layers": 4},
            "Scenic, ViViT-L/16x2 factorised encoder, EPIC-KITCHENS-100; 43.6 action top-1 with 4x1 views",
        ),
        "timesformer_b_8": Preset(
            TimeSformer,
            {"num_classes": 400},
            "TimeSformer, divided space-time, 8 frames at 224; Kinetics-400: 77.9 top-1 with 1x3 views",
        ),
        "timesformer_b_16_hr": Preset(
            TimeSformer,
            {"num_classes": 400, "num_frames": 16, "image_size": 448},
            "TimeSformer-HR, 16 frames at 448; Kinetics-400: 79.6 top-1 with 1x3 views",
        ),
        "timesformer_b_64": Preset(
            TimeSformer,
            {"num_classes": 174, "num_frames": 64},
            "TimeSformer-L, 64 frames at 224; Something-Something V2: 62.0 top-1 with 1x3 views",
        ),
        "timesformer_b_96": Preset(
            TimeSformer,
            {"num_classes": 400, "num_frames": 96},
            "TimeSformer-L, 96 frames at 224; Kinetics-400: 80.6 top-1 with 1x3 views",
        ),
        "motionformer_b_16": Preset(
            Motionformer,
            {"num_classes": 400},
            "Motionformer, 16 frames at 224; Kinetics-400: 79.7 top-1 with 10x3 views",
        ),
        "motionformer_b_16_hr": Preset(
            Motionformer,
            # Every Motionformer's file has the places of 224 pixels (see `Motionformer.position_grid`).
            {"num_classes": 400, "image_size": 336, "position_grid": (8, 14, 14)},
            "Motionformer-HR, 16 frames at 336; Kinetics-400: 81.1 top-1 with 10x3 views",
        ),
        "motionformer_b_32_l": Preset(
            Motionformer,
            {"num_classes": 400, "num_frames": 32},
            "Motionformer-L, 32 frames (every third) at 224; Kinetics-400: 80.2 top-1 with 10x3 views",
        ),
        "videomae_s_16": Preset(
            VideoMAE,
            {"num_classes": 400, "hidden_size": 384, "num_heads": 6, "mlp_dim": 1536},
            "VideoMAE, ViT-S, fine-tuned on Kinetics-400; 79.0 top-1 with 5x3 views",
        ),
        "videomae_b_16": Preset(
            VideoMAE,
            {"num_classes": 400},
            "VideoMAE, ViT-B, fine-tuned on Kinetics-400; 81.5 top-1 with 5x3 views",
        ),
        "videomae_l_16": Preset(
            VideoMAE,
            {"num_classes": 400, "hidden_size": 1024, "num_heads": 16, "num_layers": 24, "mlp_dim": 4096},
            "VideoMAE, ViT-L, fine-tuned on Kinetics-400; 85.2 top-1 with 5x3 views",
        ),
        "videomae_h_16": Preset(
            VideoMAE,
            {"num_classes": 400, "hidden_size": 1280, "num_heads": 16, "num_layers": 32, "mlp_dim": 5120},
            "VideoMAE, ViT-H, fine-tuned on Kinetics-400; 86.6 top-1 with 5x3 views",
        ),
        "videomae_v2_s_16": Preset(
            VideoMAE,
            {"num_classes": 710, "hidden_size": 384, "num_heads": 6, "mlp_dim": 1536},
            "VideoMAE V2, ViT-S distilled from ViT-g on Kinetics-710; Kinetics-400: 83.7 top-1 with 5x3 views",
        ),
        "videomae_v2_b_16": Preset(
            VideoMAE,
            {"num_classes": 710},
            "VideoMAE V2, ViT-B distilled from ViT-g on Kinetics-710; Kinetics-400: 86.6 top-1 with 5x3 views",
        ),
        "vivit_moving_digits": Preset(
            ViViT,
            {
                "num_classes": {"noun": 10, "verb": 8},
                "image_size": 64,
                "num_frames": 16,
                "patch_size": (2, 8, 8),
                "hidden_size": 64,
                "num_layers": 4,
                "num_heads": 2,
                "mlp_dim": 256,
            },
            "jax_vtm, trained by `python main.py finetune --config=configs/moving_digits.py`; ships in the package",
        ),
    }
)


def create_model(name: str, *, reduction: Reduction | None = None, **overrides: Any) -> VideoClassifier:
    """Builds a model by its preset's name.

    Args:
        name: A key of `PRESETS`.
        reduction: Token reduction; None for none.
        **overrides: Any field of the model's class in place of the preset's, such as `num_classes=174`,
            `image_size=(224, 320)`, `num_layers=4` or `temporal_reduction=...`.

    Returns:
        A `flax.linen.Module`.

    Raises:
        UserError: An unknown preset or field; the message lists the known ones.
    """
    if reduction is not None:
        overrides["reduction"] = reduction
    checked = check_fields(name, overrides)
    return PRESETS[name].build(**{**PRESETS[name].fields, **checked})


def check_fields(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns fields for a preset's model, lists as tuples.

    Raises:
        UserError: There is no such preset or field, or a field does not take such a value.
    """
    if name not in PRESETS:
        raise UserError(f"model {name!r} is not known.{suggestion(name, PRESETS)} Known are {', '.join(PRESETS)}.")
    return checked_fields(name, PRESETS[name].build, given)


def checked_fields(name: str, build: type[VideoClassifier], given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns fields for a model of a class, lists as tuples.

    Args:
        name: What messages call the model.
        build: The model's class.
        given: Values by field.

    Raises:
        UserError: There is no such field, or it does not take such a value.
    """
    hints = typing.get_type_hints(build)
    known = [field.name for field in dataclasses.fields(build) if field.name not in ("name", "parent")]
    found = {}
    for field, value in given.items():
        if field not in known:
            raise UserError(
                f"model {name!r} has no field {field!r}.{suggestion(field, known)} Its fields are {', '.join(known)}."
            )
        value = tuple(value) if isinstance(value, list) else value
        # What JAX takes for a type has no class of its own.
        if field != "dtype" and not _fits(value, hints[field]):
            raise UserError(f"model {name!r}: {field} is {value!r}; expected {_written(hints[field])}.")
        found[field] = value
    return found


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a type, as models' fields have them; their whole numbers are sizes and counts."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, one) for one in arguments)
    if origin is typing.Literal:
        return value in arguments
    if origin is tuple:
        return isinstance(value, tuple) and len(value) == len(arguments) and all(map(_fits, value, arguments))
    if origin is Mapping:
        return isinstance(value, Mapping) and len(value) > 0 and all(_fits(one, arguments[1]) for one in value.values())
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool) and value >= 1
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1
    return isinstance(value, hint)


def _written(hint: Any) -> str:
    """Says in words which values a type has."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(_written, arguments))
    if origin is typing.Literal:
        return ", ".join(map(repr, arguments))
    if origin is tuple:
        return f"{len(arguments)} whole numbers"
    names = {int: "a whole number of at least 1", float: "a share from 0 to less than 1", types.NoneType: "None"}
    return names.get(origin or hint, "heads with their classes" if origin is Mapping else hint.__name__)


def suggestion(word: str, known) -> str:
    """Returns " Did you mean 'x'?" where something known is close, else nothing."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""
