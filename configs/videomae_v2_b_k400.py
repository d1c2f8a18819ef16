"""VideoMAE V2's distilled ViT-B on Kinetics-400, merging over the whole clip.

    python main.py --config=configs/videomae_v2_b_k400.py --config.checkpoint=release --config.data.path=FOLDER

evaluates the ViT-B that VideoMAE V2's authors distilled from their ViT-g on Kinetics-710, with 5x3 views, unmerged and
merged. Of its 710 classes those of Kinetics-400 are kept, as its authors do. Published by VideoMAE V2, not measured
here: 86.6 top-1 without merging. For the ViT-S, add --config.model.name=videomae_v2_s_16. docs/datasets.md says
what FOLDER may look like.

Checkpoint: https://huggingface.co/OpenGVLab/VideoMAE2/resolve/main/distill/vit_b_k710_dl_from_giant.pth
"""

from jax_vtm.config import Config, default_config


def get_config() -> Config:
    """Returns the configuration."""
    config = default_config("videomae_v2_b_k400")
    config.model.name = "videomae_v2_b_16"
    config.model.num_classes = 400
    config.checkpoint_classes = "kinetics710_videomae_v2"
    config.reduction.r = 150
    config.data.name = "kinetics400"
    config.data.description = "Kinetics-400 validation, 400 actions"
    config.data.protocol = "standard"
    return config
