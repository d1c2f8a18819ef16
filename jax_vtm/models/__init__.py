"""Video transformers as Flax (linen) modules with token merging between attention and MLP. Knows no files."""

from jax_vtm.models.motionformer import Motionformer
from jax_vtm.models.patch_groups import (
    PatchGroups,
    merges_within_steps,
    num_merging_layers,
    patch_groups,
    seen_frames,
    seen_pixels,
)
from jax_vtm.models.presets import PRESETS, Preset, check_fields, create_model
from jax_vtm.models.scenic_config import from_scenic_config
from jax_vtm.models.timesformer import TimeSformer
from jax_vtm.models.trace import FactorisedTrace, Trace, groups_per_layer
from jax_vtm.models.video import VideoClassifier
from jax_vtm.models.videomae import VideoMAE
from jax_vtm.models.vivit import FactorisedEncoderViViT, ViViT
from jax_vtm.models.vivit_factorised_attention import FactorisedAttentionViViT

__all__ = [
    "PRESETS",
    "FactorisedAttentionViViT",
    "FactorisedEncoderViViT",
    "FactorisedTrace",
    "Motionformer",
    "PatchGroups",
    "Preset",
    "TimeSformer",
    "Trace",
    "ViViT",
    "VideoClassifier",
    "VideoMAE",
    "check_fields",
    "create_model",
    "from_scenic_config",
    "groups_per_layer",
    "merges_within_steps",
    "num_merging_layers",
    "patch_groups",
    "seen_frames",
    "seen_pixels",
]
