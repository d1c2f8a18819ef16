"""ViViT-B/16x2 at full size on a CPU, unmerged and merged, next to Hugging Face's ViViT in PyTorch.

    python main.py benchmark --config=configs/benchmark_cpu.py

times jax_vtm, PyTorch with eager attention (as the paper measured) and PyTorch with fused attention (SDPA), the same
weights and clips in all, one clip at a time, float32. It needs the extra `[torch]`; without it, the rows of PyTorch say
so. On two cores a round takes about a minute, and there are seven; a machine with other work to do gives other ratios.
docs/benchmarks.md has the outcome.
"""

from jax_vtm.config import Config, default_config


def get_config() -> Config:
    """Returns the configuration."""
    config = default_config("benchmark_cpu")
    config.model.name = "vivit_b_16x2"
    config.reduction.r = 300
    config.benchmark.grids = (
        {"implementation": ("jax_vtm", "pytorch_eager", "pytorch_sdpa"), "reduction.r": (0, 300)},
    )
    # Sending and decoding a clip takes a hundredth of looking at it.
    config.benchmark.scopes = ("forward",)
    return config
