r"""TimeSformer, 8 frames on Something-Something V2, merging within each frame.

    python main.py --config=configs/timesformer_b_ssv2.py --config.checkpoint=FILE --config.data.path=FOLDER

evaluates TimeSformer's released checkpoint with 1x3 views, as its authors do, unmerged and merged. Published by
TimeSformer, not measured here: 59.1 top-1 without merging. --config.data.protocol=paper evaluates as the paper does.
docs/datasets.md says what FOLDER may look like.

Checkpoint: https://www.dropbox.com/s/tybhuml57y24wpm/TimeSformer_divST_8_224_SSv2.pyth?dl=1

    python main.py finetune --config=configs/timesformer_b_ssv2.py --config.train.recipe=standard \
        --config.init_from=FILE --config.data.path=FOLDER

trains it, from another model's weights in FILE, by the hyper-parameters of TimeSformer's own configs
(docs/finetuning.md).
"""

from jax_vtm.config import Config, default_config


def get_config() -> Config:
    """Returns the configuration."""
    config = default_config("timesformer_b_ssv2")
    config.model.name = "timesformer_b_8"
    config.model.num_classes = 174
    # The paper's choice for this model: of 196 tokens per frame and layer.
    config.reduction.r = 18
    config.data.name = "ssv2"
    config.data.description = "Something-Something V2 validation, 174 actions"
    config.data.protocol = "standard"
    return config
