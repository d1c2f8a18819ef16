"""The optimizer: SGD or AdamW of optax, with decay of weights and of the learning rate by layer."""

from typing import Any

import optax
from flax.traverse_util import flatten_dict, path_aware_map

from jax_vtm.errors import UserError
from jax_vtm.training.schedules import learning_rate_schedule
from jax_vtm.training.settings import TrainingSettings

# Above all blocks; everything else outside of them lies below.
_TOP = ("encoder_norm", "pooled_norm", "pre_logits", "output_projection")


def create_optimizer(settings: TrainingSettings) -> optax.GradientTransformation:
    """Returns the update of the weights from a gradient; each device's clipping comes before (`clip_per_device`)."""
    parts = []
    if settings.gradient_norm and not settings.clip_per_device:
        parts.append(optax.clip_by_global_norm(settings.gradient_norm))
    decay = optax.add_decayed_weights(settings.weight_decay, kernels if settings.decayed == "kernels" else None)
    # Before the momentum it is PyTorch's SGD, after it AdamW.
    if settings.optimizer == "sgd":
        parts += [decay, optax.trace(settings.momentum, settings.nesterov)]
    else:
        parts += [optax.scale_by_adam(settings.momentum, settings.b2), decay]
    if settings.layer_decay != 1:
        parts.append(optax.stateless(lambda updates, _: _by_layer(updates, settings.layer_decay)))
    schedule = learning_rate_schedule(settings)
    return optax.chain(*parts, optax.scale_by_learning_rate(schedule))


def kernels(params: Any) -> Any:
    """Marks the kernels: no bias, normalisation, class token or position."""
    return path_aware_map(lambda path, _: path[-1] == "kernel", params)


def layer_of(path: tuple[Any, ...], num_layers: int) -> int:
    """Returns a parameter's layer: 0 for embeddings, 1 for the first block, one above the last block for the head."""
    blocks = [int(name.removeprefix("encoderblock_")) for name in path if name.startswith("encoderblock_")]
    if blocks:
        return blocks[0] + 1
    return num_layers + 1 if any(name in _TOP for name in path) else 0


def _by_layer(updates: Any, decay: float) -> Any:
    encoders = {path[: path.index(name)] for path in flatten_dict(updates) for name in path if name == "encoderblock_0"}
    if len(encoders) != 1:
        raise UserError("train.layer_decay counts the blocks of one encoder; this model has several. Set it to 1.")
    num_layers = len({name for path in flatten_dict(updates) for name in path if name.startswith("encoderblock_")})
    return path_aware_map(lambda path, leaf: leaf * decay ** (num_layers + 1 - layer_of(path, num_layers)), updates)


def shrink_kernels(params: Any, amount: Any) -> Any:
    """Scenic's explicit weight decay: (1 - amount) times every kernel."""
    return path_aware_map(lambda path, leaf: leaf * (1 - amount) if path[-1] == "kernel" else leaf, params)
