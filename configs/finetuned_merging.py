"""What does merging while finetuning win back of the accuracy that strong merging costs?

    python main.py study --config=configs/finetuned_merging.py

finetunes the embedded checkpoint on the moving digits with each of three reductions and three seeds, 200 steps each,
and evaluates it next to the checkpoint as it is, at the same MACs. It takes 18 minutes of CPU time. Expect a quarter of
a large loss to come back, 6.5 of 24.6 points at 12 % of the MACs, and nothing certain of small ones
(docs/finetuning.md). What was stopped goes on with the same command; --config.study.controls=1 also trains without
merging.
"""

import pathlib

from jax_vtm.config import Config, load_config


def get_config() -> Config:
    """Returns the configuration."""
    config = load_config(pathlib.Path(__file__).with_name("moving_digits.py"))
    config.name = "finetuned_merging"
    config.study.what = "finetuning"
    # Half of the tokens is the most that one merging removes, so the first layer merges three times in a row.
    config.study.reduction = "r=128,160,256 repeat_layer=(0,3)"
    # One without merging takes twice as long as those with the three reductions together.
    config.study.controls = 0
    config.train.update(steps=200, learning_rate=3e-4, warmup_steps=10.0)
    config.train.update(checkpoint_every=40, keep=1)
    return config
