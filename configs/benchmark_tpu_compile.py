"""The paper's four models by the TPU's compiler, unmerged and merged: no TPU is needed, and nothing is measured.

    pip install "jax_vtm[tpu]"
    python main.py benchmark --config=configs/benchmark_tpu_compile.py

Every row is an evaluation step in bfloat16 with 8 clips per v5e chip, compiled by libtpu, and the compiler's estimate
of its time. Further axes and other values:

    --config.benchmark.axes="topology=v5e:2x2,v4:2x2x1,v5p:2x2x1,v6e:2x4 batch=1,8,32"
    --config.benchmark.axes="model.name=vivit_b_16x2 reduction.r=300 reduction.mode=merge,drop,hybrid"
"""

from jax_vtm.config import Config, default_config

SHARED = {"batch": 8, "topology": "v5e:2x2"}


def get_config() -> Config:
    """Returns the configuration."""
    config = default_config("benchmark_tpu_compile")
    config.model.name = "vivit_b_16x2"
    config.model.dtype = "bfloat16"
    config.reduction.r = 300
    config.benchmark.what = "compile"
    config.benchmark.grids = (
        {"model.name": "vivit_b_16x2", "reduction.r": (0, 300), **SHARED},
        {"model.name": "videomae_b_16", "reduction.r": (0, 150), **SHARED},
        {"model.name": "timesformer_b_8", "reduction.r": (0, 18), **SHARED},
        {"model.name": "motionformer_b_16", "reduction.r": (0, 18), **SHARED},
    )
    return config
