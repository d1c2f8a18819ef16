r"""ViViT-L/16x2 factorised encoder on EPIC-KITCHENS-100, merging within each time index.

    python main.py --config=configs/vivit_l_16x2_fe_epic.py --config.checkpoint=checkpoint --config.data.path=FOLDER

evaluates Scenic's released checkpoint with 4x1 views, unmerged and merged. Published, not measured here: 43.6
action top-1 without merging. docs/datasets.md says what FOLDER may look like.

Checkpoint: https://storage.googleapis.com/scenic-bucket/vivit/epic_kitchens/vivit_large_16x2_fe/checkpoint

    python main.py finetune --config=configs/vivit_l_16x2_fe_epic.py --config.train.recipe=standard \
        --config.init_from=FILE --config.data.path=FOLDER

trains it, from another model's weights in FILE, by the hyper-parameters of Scenic's
epic_kitchens/vivit_large_factorised_encoder.py (docs/finetuning.md).
"""

from jax_vtm.config import Config, default_config


def get_config() -> Config:
    """Returns the configuration."""
    config = default_config("vivit_l_16x2_fe_epic")
    config.model.name = "vivit_l_16x2_fe_epic"
    # Of 197 tokens per time index and layer; about 0.6 of the arithmetic. Not from the paper.
    config.reduction.r = 7
    config.data.name = "epic_kitchens_100"
    config.data.description = "EPIC-KITCHENS-100 validation, 300 nouns and 97 verbs"
    config.data.protocol = "standard"
    return config
