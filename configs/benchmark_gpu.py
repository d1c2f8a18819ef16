"""The paper's four models on an accelerator, unmerged and merged, ViViT next to PyTorch.

    python main.py benchmark --config=configs/benchmark_gpu.py

Ours compute in bfloat16, ViViT at batches of 1, 8 and 32 by cuDNN's attention and by XLA's, and the others at 8;
next to them is Hugging Face's ViViT in bfloat16 with fused attention, at a batch of 8 compiled, too, and in float32
with eager attention at a batch of 1, as the paper measured. PyTorch needs the extra `[torch]` with CUDA; without it,
its rows say so. Nothing of this was measured here; it is laid out to take less than eight minutes.
"""

from jax_vtm.config import Config, default_config

VIVIT = {"model.name": "vivit_b_16x2", "reduction.r": (0, 300)}


def get_config() -> Config:
    """Returns the configuration."""
    config = default_config("benchmark_gpu")
    config.model.name = "vivit_b_16x2"
    config.model.dtype = "bfloat16"
    # Each model's own default.
    config.reduction.r = 300
    config.benchmark.grids = (
        {**VIVIT, "model.attention": "cudnn", "batch": (1, 8, 32)},
        {**VIVIT, "model.attention": "xla", "batch": (1, 8)},
        {**VIVIT, "implementation": "pytorch_sdpa", "batch": (1, 8, 32)},
        {**VIVIT, "implementation": "pytorch_compiled", "batch": 8},
        {**VIVIT, "implementation": ("jax_vtm", "pytorch_eager"), "model.dtype": "float32", "model.attention": "xla"},
        {"model.name": "videomae_b_16", "model.attention": "cudnn", "batch": 8, "reduction.r": (0, 150)},
        {"model.name": "timesformer_b_8", "model.attention": "xla", "batch": 8, "reduction.r": (0, 18)},
        {"model.name": "motionformer_b_16", "model.attention": "xla", "batch": 8, "reduction.r": (0, 18)},
    )
    config.benchmark.rounds = 5
    config.benchmark.min_seconds = 0.1
    config.benchmark.videos = 32
    config.data.num_threads = 16
    return config
