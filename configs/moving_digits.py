"""The embedded default: a small ViViT on handwritten digits that move, unmerged and merged.

    python main.py

evaluates the checkpoint that ships in the package on 1440 H.264 clips, which it writes first.

    python main.py sweep

evaluates 45 reductions side by side, in a few minutes on two CPU cores: five modes, three r, three schedules. Merging
keeps its accuracy at half the arithmetic; random merging loses it, the more the fewer tokens are left.

    python main.py finetune --config=configs/moving_digits.py

trains such a checkpoint from scratch, in 4000 steps: over an hour on two CPU cores. Expect nouns right for 92.7 % of
the test clips and verbs for nearly all. (The shipped one was stopped once and continued: its first 1200 steps followed
the same schedule laid out for 3000.)

    python main.py --config.data.path=FOLDER

predicts for a folder of videos, or evaluates it if there is a labels.csv (`video,verb,noun`) in it.
"""

from jax_vtm.config import Config, default_config


def get_config() -> Config:
    """Returns the configuration."""
    config = default_config("moving_digits")
    config.checkpoint = "embedded:moving_digits"
    config.model.name = "vivit_moving_digits"
    config.reduction.r = 138
    config.data.name = "moving_digits"
    config.data.description = "one of ten handwritten digits (noun) moving in one of eight directions (verb)"
    config.data.short_side = 64
    config.data.batch_size = 16
    config.train.update(steps=4000, batch_size=32, learning_rate=1.5e-3, warmup_steps=150.0)
    config.train.update(weight_decay=0.05, b2=0.99, gradient_norm=1.0)
    config.sweep.mode = ("merge", "hybrid", "drop", "random_drop", "random_merge")
    config.sweep.r = (64, 112, 208)
    config.sweep.inflection = (-1.0, 0.0, 1.0)
    config.sweep.threshold = (0.9,)
    config.sweep.runs_per_pass = 15
    return config
