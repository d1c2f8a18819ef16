r"""VideoMAE ViT-B on Kinetics-400, merging over the whole clip.

    python main.py --config=configs/videomae_b_k400.py --config.checkpoint=FILE --config.data.path=FOLDER

evaluates VideoMAE's released checkpoint with 5x3 views, as its authors do, unmerged and merged. Published by
VideoMAE, not measured here: 81.5 top-1 without merging. With --config.data.protocol=paper the paper published 62.09
without merging, 56.10 with r = 150. docs/datasets.md says what FOLDER may look like.

Checkpoint: https://drive.google.com/file/d/1MzwteHH-1yuMnFb8vRBQDvngV1Zl-d3z

    python main.py finetune --config=configs/videomae_b_k400.py --config.train.recipe=standard \
        --config.init_from=FILE --config.data.path=FOLDER

trains it, from another model's weights in FILE, by the hyper-parameters of VideoMAE's scripts/kinetics
(docs/finetuning.md).
"""

from jax_vtm.config import Config, default_config


def get_config() -> Config:
    """Returns the configuration."""
    config = default_config("videomae_b_k400")
    config.model.name = "videomae_b_16"
    # The paper's choice for VideoMAE: 2.43 times less arithmetic.
    config.reduction.r = 150
    config.data.name = "kinetics400"
    config.data.description = "Kinetics-400 validation, 400 actions"
    config.data.protocol = "standard"
    return config
