"""What does merging while finetuning win back of the accuracy that strong merging costs?

    python main.py study --config=configs/finetuned_merging.py

finetunes the embedded checkpoint on the moving digits with each of three reductions and three seeds, 300 steps each,
and evaluates it next to the checkpoint as it is, at the same MACs. Expect a third of the loss to come back: with one
seed and 720 clips, 8.5 of 24.6 points where the first layer merges three times, and 2.9 of 8.2 where it does twice
(docs/finetuning.md). All three seeds were not run yet. What was stopped goes on with the same command.
"""

import pathlib

from jax_vtm.config import Config, load_config


def get_config() -> Config:
    """Returns the configuration."""
    config = load_config(pathlib.Path(__file__).with_name("moving_digits.py"))
    config.name = "finetuned_merging"
    config.study.what = "finetuning"
    # Half of the tokens is the most that one merging removes, so the first layer merges several times in a row.
    config.study.reduction = "r=256 repeat_layer=(0,2),(0,3),(0,4)"
    # One without merging takes as long as two of all three reductions.
    config.study.controls = 1
    config.train.update(steps=300, learning_rate=1e-3, warmup_steps=20.0)
    config.train.update(checkpoint_every=100, keep=1)
    return config
