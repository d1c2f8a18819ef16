r"""VideoMAE ViT-B on EPIC-KITCHENS-100, merging over the whole clip.

    python main.py --config=configs/videomae_b_epic.py --config.checkpoint=FILE --config.data.path=FOLDER

evaluates a checkpoint of yours with 1 view per video, as the paper does, unmerged and merged. Published by the
paper, not measured here: 35.70 action top-1 without merging, 31.27 with r = 150. docs/datasets.md says what FOLDER
may look like.

Checkpoint: the paper's authors fine-tuned one and did not release it; this config fits one of your own.

    python main.py finetune --config=configs/videomae_b_epic.py --config.train.recipe=paper \
        --config.init_from=FILE --config.data.path=FOLDER

trains it, from another model's weights in FILE, by the hyper-parameters of the paper's configs/videomae
(docs/finetuning.md).
"""

from ml_collections import ConfigDict

from jax_vtm.config import Config, default_config


def get_config() -> Config:
    """Returns the configuration."""
    config = default_config("videomae_b_epic")
    config.model.name = "videomae_b_16"
    config.model.num_classes = ConfigDict({"noun": 300, "verb": 97})
    # The paper's choice for VideoMAE: 2.43 times less arithmetic.
    config.reduction.r = 150
    config.data.name = "epic_kitchens_100"
    config.data.description = "EPIC-KITCHENS-100 validation, 300 nouns and 97 verbs"
    config.data.protocol = "paper"
    return config
