"""Loads checkpoints into parameter trees, and saves them; a checkpoint that does not fit the model is refused.

`load_checkpoint` reads Scenic's msgpack files (of today and of 2021), orbax directories, safetensors, npz and PyTorch
files; `save_checkpoint` writes Scenic's msgpack layout.
"""

from jax_vtm.checkpoints.digest import checkpoint_digest
from jax_vtm.checkpoints.load import load_checkpoint
from jax_vtm.checkpoints.msgpack_file import read_train_state
from jax_vtm.checkpoints.pretrained import Pretrained, image_leaf, read_pretrained
from jax_vtm.checkpoints.save import save_checkpoint
from jax_vtm.checkpoints.stored import CheckpointError
from jax_vtm.checkpoints.torch_names import from_torch_state_dict, to_hugging_face
from jax_vtm.checkpoints.validate import abstract_params

__all__ = [
    "CheckpointError",
    "Pretrained",
    "abstract_params",
    "checkpoint_digest",
    "from_torch_state_dict",
    "image_leaf",
    "load_checkpoint",
    "read_pretrained",
    "read_train_state",
    "save_checkpoint",
    "to_hugging_face",
]
