r"""ViViT-L/16x2 factorised encoder on Kinetics-400, merging within each time index.

    python main.py --config=configs/vivit_l_16x2_fe_k400.py --config.checkpoint=checkpoint --config.data.path=FOLDER

evaluates Scenic's released checkpoint with 4x3 views, unmerged and merged. Published, not measured here: 80.3
top-1 without merging. docs/datasets.md says what FOLDER may look like.

Checkpoint: https://storage.googleapis.com/scenic-bucket/vivit/kinetics_400/vivit_large_16x2_fe/checkpoint

    python main.py finetune --config=configs/vivit_l_16x2_fe_k400.py --config.train.recipe=standard \
        --config.init_from=FILE --config.data.path=FOLDER

trains it, from another model's weights in FILE, by the hyper-parameters of Scenic's
kinetics400/vivit_large_factorised_encoder.py (docs/finetuning.md).
"""

from jax_vtm.config import Config, default_config


def get_config() -> Config:
    """Returns the configuration."""
    config = default_config("vivit_l_16x2_fe_k400")
    config.model.name = "vivit_l_16x2_fe"
    # Of 197 tokens per time index and layer; about 0.6 of the arithmetic. Not from the paper.
    config.reduction.r = 7
    config.data.name = "kinetics400"
    config.data.description = "Kinetics-400 validation, 400 actions"
    config.data.protocol = "standard"
    return config
