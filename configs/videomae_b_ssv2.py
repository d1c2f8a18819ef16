r"""VideoMAE ViT-B on Something-Something V2, merging over the whole clip.

    python main.py --config=configs/videomae_b_ssv2.py --config.checkpoint=FILE --config.data.path=FOLDER

evaluates VideoMAE's released checkpoint with 2x3 views, as its authors do, unmerged and merged. Published by
VideoMAE, not measured here: 70.8 top-1 without merging. With --config.data.protocol=paper the paper published 64.58
without merging, 61.10 with r = 150. docs/datasets.md says what FOLDER may look like.

Checkpoint: https://drive.google.com/file/d/1dt_59tBIyzdZd5Ecr22lTtzs_64MOZkT

    python main.py finetune --config=configs/videomae_b_ssv2.py --config.train.recipe=standard \
        --config.init_from=FILE --config.data.path=FOLDER

trains it, from another model's weights in FILE, by the hyper-parameters of VideoMAE's scripts/ssv2
(docs/finetuning.md).
"""

from jax_vtm.config import Config, default_config


def get_config() -> Config:
    """Returns the configuration."""
    config = default_config("videomae_b_ssv2")
    config.model.name = "videomae_b_16"
    config.model.num_classes = 174
    # The paper's choice for VideoMAE: 2.43 times less arithmetic.
    config.reduction.r = 150
    config.data.name = "ssv2"
    config.data.description = "Something-Something V2 validation, 174 actions"
    config.data.protocol = "standard"
    return config
