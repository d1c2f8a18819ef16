r"""ViViT-B/16x2 (unfactorised) on Kinetics-400, the model of the paper's ViViT results.

    python main.py --config=configs/vivit_b_16x2_k400.py --config.checkpoint=checkpoint --config.data.path=FOLDER

evaluates Scenic's released checkpoint with 4x3 views, unmerged and merged. Published, not measured here: 79.9
top-1 without merging. With --config.data.protocol=paper the paper published 63.43 without merging, 63.08 with r =
300. docs/datasets.md says what FOLDER may look like.

Checkpoint: https://storage.googleapis.com/scenic-bucket/vivit/kinetics_400/vivit_base_16x2_unfactorized/checkpoint

    python main.py finetune --config=configs/vivit_b_16x2_k400.py --config.train.recipe=standard \
        --config.init_from=FILE --config.data.path=FOLDER

trains it, from another model's weights in FILE, by the hyper-parameters of Scenic's kinetics400/vivit_base_k400.py
(docs/finetuning.md).
"""

from jax_vtm.config import Config, default_config


def get_config() -> Config:
    """Returns the configuration."""
    config = default_config("vivit_b_16x2_k400")
    config.model.name = "vivit_b_16x2"
    # The paper's choice for ViViT: 2.52 times less arithmetic.
    config.reduction.r = 300
    config.data.name = "kinetics400"
    config.data.description = "Kinetics-400 validation, 400 actions"
    config.data.protocol = "standard"
    return config
