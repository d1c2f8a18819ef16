r"""ViViT-B/16x2 (unfactorised) on Something-Something V2, merging over the whole clip.

    python main.py --config=configs/vivit_b_16x2_ssv2.py --config.checkpoint=FILE --config.data.path=FOLDER

evaluates a checkpoint of yours with 1 view per video, as the paper does, unmerged and merged. Published by the
paper, not measured here: 50.63 top-1 without merging, 50.15 with r = 300. docs/datasets.md says what FOLDER may look
like.

Checkpoint: the paper's authors fine-tuned one and did not release it; this config fits one of your own.

    python main.py finetune --config=configs/vivit_b_16x2_ssv2.py --config.train.recipe=paper \
        --config.init_from=FILE --config.data.path=FOLDER

trains it, from another model's weights in FILE, by the hyper-parameters of the paper's configs/vivit/ssv2;
recipe=standard is Scenic's, of the large factorised encoder (docs/finetuning.md).
"""

from jax_vtm.config import Config, default_config


def get_config() -> Config:
    """Returns the configuration."""
    config = default_config("vivit_b_16x2_ssv2")
    config.model.name = "vivit_b_16x2"
    config.model.num_classes = 174
    # The paper's choice for ViViT: 2.52 times less arithmetic.
    config.reduction.r = 300
    config.data.name = "ssv2"
    config.data.description = "Something-Something V2 validation, 174 actions"
    config.data.protocol = "paper"
    return config
