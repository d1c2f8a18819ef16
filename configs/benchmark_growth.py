"""How time and memory grow with the length of a clip: ViViT-B/16x2 with 16 to 128 frames, 1569 to 12545 tokens.

    python main.py benchmark --config=configs/benchmark_growth.py

times each length unmerged, with a tenth of the tokens merged in every layer, and with as many left out by keeping the
first ones. What lies between the last two is what matching and merging take. On two cores a round takes several
minutes, of which there are three. docs/benchmarks.md has the outcome.
"""

from jax_vtm.config import Config, default_config

# Frames, and r in the proportion in which the paper merges 300 of 32 frames.
LENGTHS = ((16, 150), (32, 300), (64, 600), (128, 1200))


def get_config() -> Config:
    """Returns the configuration."""
    config = default_config("benchmark_growth")
    config.model.name = "vivit_b_16x2"
    config.reduction.r = 300
    config.benchmark.grids = tuple(
        {"model.num_frames": frames, "reduction.r": (0, r), "truncated": (False, True)} for frames, r in LENGTHS
    )
    config.benchmark.scopes = ("forward",)
    config.benchmark.rounds = 3
    return config
