"""What does merging while finetuning win back of the accuracy that strong merging costs?

    python main.py study --config=configs/finetuned_merging.py

finetunes the embedded checkpoint on the moving digits with each of three reductions and three seeds, 1000 steps each,
and evaluates it next to the checkpoint as it is, at the same MACs. It takes three quarters of an hour of CPU time.
Expect half of a large loss to come back, 12.8 of 24.7 points at 12 % of the MACs and 4.9 of 9.0 at 14 %, and of 2.6
points at 15 % nothing certain (docs/finetuning.md). What was stopped goes on with the same command;
--config.study.controls=1 also trains without merging.
"""

import pathlib

from jax_vtm.config import Config, load_config


def get_config() -> Config:
    """Returns the configuration."""
    config = load_config(pathlib.Path(__file__).with_name("moving_digits.py"))
    config.name = "finetuned_merging"
    config.study.what = "finetuning"
    # Half of the tokens is the most that one merging removes, so the first layer merges three times in a row.
    config.study.reduction = "r=160,192,256 repeat_layer=(0,3)"
    # One without merging takes twice as long as those with the three reductions together.
    config.study.controls = 0
    config.train.update(steps=1000, learning_rate=1e-3, warmup_steps=20.0)
    config.train.update(checkpoint_every=200, keep=1)
    return config
