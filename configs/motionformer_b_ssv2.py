r"""Motionformer, 16 frames on Something-Something V2, merging as the paper's code does.

    python main.py --config=configs/motionformer_b_ssv2.py --config.checkpoint=FILE --config.data.path=FOLDER

evaluates Motionformer's released checkpoint with 1x3 views, as its authors do, unmerged and merged. Published by
Motionformer, not measured here: 66.5 top-1 without merging. --config.data.protocol=paper evaluates as the paper does.
docs/datasets.md says what FOLDER may look like.

Checkpoint: https://dl.fbaipublicfiles.com/motionformer/ssv2_motionformer_224_16x4.pyth

    python main.py finetune --config=configs/motionformer_b_ssv2.py --config.train.recipe=standard \
        --config.init_from=FILE --config.data.path=FOLDER

trains it, from another model's weights in FILE, by the hyper-parameters of Motionformer's own configs
(docs/finetuning.md).
"""

from jax_vtm.config import Config, default_config


def get_config() -> Config:
    """Returns the configuration."""
    config = default_config("motionformer_b_ssv2")
    config.model.name = "motionformer_b_16"
    config.model.num_classes = 174
    # The paper's choice for this model: of 196 tokens per group and layer. A group is every eighth token, as in the
    # paper's code; with layout "fixed" it is a frame.
    config.reduction.r = 18
    config.data.name = "ssv2"
    config.data.description = "Something-Something V2 validation, 174 actions"
    config.data.protocol = "standard"
    return config
