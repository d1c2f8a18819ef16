"""How fast the embedded default's model is, unmerged and merged: a benchmark of half a minute on two CPU cores.

    python main.py benchmark

times every experiment below next to the others (`python main.py benchmark --dry_run` lists them), in three scopes: the
model alone, from the host's memory, and from H.264 videos. It is too small a model to say much of larger ones: for
those there are configs/benchmark_cpu.py, configs/benchmark_gpu.py and configs/benchmark_growth.py.

    python main.py benchmark --config=configs/benchmark.py --config.benchmark.axes="model.attention=xla,chunked"

adds an axis. Weights are random: how long a model takes does not depend on them.
"""

from jax_vtm.config import Config, default_config


def get_config() -> Config:
    """Returns the configuration."""
    config = default_config("benchmark")
    config.model.name = "vivit_moving_digits"
    config.reduction.r = 138
    config.benchmark.grids = (
        {"batch": 16, "reduction.r": (0, 64, 138)},
        {"batch": 16, "reduction.r": 138, "reduction.inflection": -1.0},
        {"batch": 16, "reduction.r": 138, "truncated": True},
    )
    config.benchmark.rounds = 5
    config.benchmark.min_seconds = 0.1
    return config
