"""Ways to save arithmetic, compared at equal MACs: the embedded model at 50, 40, 30 and 20 % of them.

    python main.py sweep --config=configs/equal_cost.py

evaluates 49 reductions of the embedded model in four minutes on two idle CPU cores: merging with constant and
decreasing r, random dropping, fewer patches before the first layer (those that change most, drawn at random, or evenly
spaced), alone and with merging after it, and schedules that calibrate has searched. All are evaluated on the 1200 of
the 1440 clips that the schedules were not searched on. Its table is in docs/reductions.md.
"""

import pathlib

from jax_vtm.config import Config, load_config

# Schedules that calibrate has found: tokens that every step removes, and how many of the steps are the first layer's.
# python main.py calibrate --config.calibrate.budget=0.5,0.4,0.3,0.2,0.15,0.12
SEARCHED = (
    ((93, 77, 86, 41, 86), 2),
    ((139, 102, 67, 22, 61), 2),
    ((128, 96, 72, 63, 25, 60), 3),
    ((136, 101, 73, 54, 40, 0, 22, 10), 5),
    ((142, 103, 75, 53, 39, 28, 21, 0, 19), 6),
    ((139, 102, 74, 54, 39, 28, 21, 15, 11, 6, 1, 3), 9),
)
# The same, then the patches that stay before them. Found by single layers alone (--config.calibrate.rounds=0).
# python main.py calibrate --config.calibrate.input=True --config.calibrate.budget=0.4,0.3,0.2,0.15,0.1,0.08
SEARCHED_WITH_INPUT = (
    ((132, 96, 0, 74, 46), 2, 484),
    ((49, 74, 46, 0), 1, 305),
    ((46, 39, 43, 0, 47), 2, 256),
    ((74, 54, 26, 30, 0), 2, 256),
    ((74, 54, 37, 27, 0, 0, 25), 4, 256),
    ((34, 26, 20, 0, 0, 23), 3, 144),
)
CLIPS = 240  # which calibrate searches on


def get_config() -> Config:
    """Returns the configuration."""
    config = load_config(pathlib.Path(__file__).with_name("moving_digits.py"))
    config.name = "equal_cost"
    config.data.leave_out = CLIPS
    config.sweep.mode = config.sweep.r = config.sweep.inflection = config.sweep.threshold = ()
    with_input = {"mode": "merge", "series": "input by run length, constant r"}
    config.sweep.runs = (
        {"mode": ("merge", "random_drop"), "r": (64, 112, 160, 208, 256)},
        {"mode": "merge", "r": (48, 64, 88, 112, 128), "inflection": -1.0},
        *(
            {"mode": "merge", "r": 0, "input": [{"keep": keep, "by": by} for keep in (320, 256, 192, 128)]}
            for by in ("run_length", "random", "uniform")
        ),
        {**with_input, "r": (16, 32, 64), "input": {"keep": 320, "by": "run_length"}},
        {**with_input, "r": (16, 32, 48), "input": {"keep": 192, "by": "run_length"}},
        *(_searched("searched", "merge", *one) for one in SEARCHED),
        # As many tokens in every layer, chosen at random.
        *(_searched("searched numbers, random drop", "random_drop", *one) for one in SEARCHED[:4]),
        *(_searched("searched, input by run length", "merge", *one) for one in SEARCHED_WITH_INPUT),
    )
    return config


def _searched(series: str, mode: str, r: tuple[int, ...], steps: int, keep: int = 0) -> dict:
    return {
        "series": series,
        "mode": mode,
        "r": (r,),
        "repeat_layer": (0, steps),
        "input": {"keep": keep, "by": "run_length"},
    }
