"""Models by name, and what else is known of them."""

import dataclasses
import difflib
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
    if name not in PRESETS:
        raise UserError(f"model {name!r} is not known.{suggestion(name, PRESETS)} Known are {', '.join(PRESETS)}.")
    preset = PRESETS[name]
    known = [field.name for field in dataclasses.fields(preset.build) if field.name not in ("name", "parent")]
    for field in overrides:
        if field not in known:
            raise UserError(
                f"model {name!r} has no field {field!r}.{suggestion(field, known)} Its fields are {', '.join(known)}."
            )
    if reduction is not None:
        overrides["reduction"] = reduction
    return preset.build(**{**preset.fields, **overrides})


def suggestion(word: str, known) -> str:
    """Returns " Did you mean 'x'?" where something known is close, else nothing."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""
