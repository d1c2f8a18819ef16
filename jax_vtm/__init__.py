"""Video token merging in JAX: evaluate ViViT and other video transformers with training-free token merging.

    import jax_vtm

    reduction = jax_vtm.Reduction(r=300)
    model = jax_vtm.create_model("vivit_b_16x2", reduction=reduction)
    variables = jax_vtm.load_checkpoint("path/to/checkpoint", model)
    logits = model.apply(variables, video)  # video [B, 32, 224, 224, 3] in [-1, 1]

Names are imported when first used, so that `import jax_vtm` alone does not wait for JAX.
"""

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from jax_vtm import checkpoints, data, evaluation, merging
    from jax_vtm.checkpoints import load_checkpoint, save_checkpoint
    from jax_vtm.errors import UserError
    from jax_vtm.exporting.load import load_exported
    from jax_vtm.merging import InputReduction, Reduction
    from jax_vtm.models import create_model, from_scenic_config
    from jax_vtm.prediction import predict

_PACKAGES = ("checkpoints", "data", "evaluation", "merging")
_HOMES = {
    "InputReduction": "jax_vtm.merging",
    "Reduction": "jax_vtm.merging",
    "UserError": "jax_vtm.errors",
    "create_model": "jax_vtm.models",
    "from_scenic_config": "jax_vtm.models",
    "load_checkpoint": "jax_vtm.checkpoints",
    "load_exported": "jax_vtm.exporting.load",
    "predict": "jax_vtm.prediction",
    "save_checkpoint": "jax_vtm.checkpoints",
}

__all__ = [
    "InputReduction",
    "Reduction",
    "UserError",
    "checkpoints",
    "create_model",
    "data",
    "evaluation",
    "from_scenic_config",
    "load_checkpoint",
    "load_exported",
    "merging",
    "predict",
    "save_checkpoint",
]


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


def __getattr__(name: str):
    if name in _PACKAGES:
        return importlib.import_module(f"jax_vtm.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'jax_vtm' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
