"""Bytes on disk to a parameter tree; what does not fit the model is refused.

`load_checkpoint` reads Scenic's msgpack files (today's layout and that of 2021), orbax directories, and
safetensors, npz and PyTorch files; `save_checkpoint` writes what it and Scenic read.
"""

from jax_vtm.checkpoints.digest import checkpoint_digest
from jax_vtm.checkpoints.errors import CheckpointError
from jax_vtm.checkpoints.expected import expected_params
from jax_vtm.checkpoints.load import load_checkpoint
from jax_vtm.checkpoints.save import save_checkpoint
from jax_vtm.checkpoints.torch_names import from_torch_state_dict, to_hugging_face

__all__ = [
    "CheckpointError",
    "checkpoint_digest",
    "expected_params",
    "from_torch_state_dict",
    "load_checkpoint",
    "save_checkpoint",
    "to_hugging_face",
]
