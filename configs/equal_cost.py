"""Ways to save arithmetic, compared at equal MACs: the embedded model at 50, 40, 30 and 20 % of them.

    python main.py sweep --config=configs/equal_cost.py

evaluates 33 reductions of the embedded model on its 1440 clips, within fifteen minutes on two CPU cores: merging with
constant and decreasing r, random dropping, and fewer patches before the first layer (those that change most, drawn at
random, or evenly spaced), alone and with merging after it. The table "at equal MACs" of its page is in
docs/reductions.md.
"""

import pathlib

from jax_vtm.config import Config, load_config


def get_config() -> Config:
    """Returns the configuration."""
    config = load_config(pathlib.Path(__file__).with_name("moving_digits.py"))
    config.name = "equal_cost"
    config.sweep.mode = config.sweep.r = config.sweep.inflection = config.sweep.threshold = ()
    config.sweep.runs = (
        {"mode": ("merge", "random_drop"), "r": (64, 112, 160, 208, 256)},
        {"mode": "merge", "r": (48, 64, 88, 112, 128), "inflection": -1.0},
        *(
            {"mode": "merge", "r": 0, "input": [{"keep": keep, "by": by} for keep in (320, 256, 192, 128)]}
            for by in ("run_length", "random", "uniform")
        ),
        {"mode": "merge", "r": (16, 32, 64), "input": {"keep": 320, "by": "run_length"}},
        {"mode": "merge", "r": (16, 32, 48), "input": {"keep": 192, "by": "run_length"}},
    )
    return config
