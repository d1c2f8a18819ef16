"""`convert`: converts a checkpoint of any format that fits the config's model."""

import pathlib

import jax

from jax_vtm.checkpoints import checkpoint_digest, save_checkpoint
from jax_vtm.config import Config
from jax_vtm.errors import SUCCESS
from jax_vtm.evaluation import build
from jax_vtm.files import write_text
from jax_vtm.merging import no_reduction


def run(config: Config, workdir: pathlib.Path) -> int:
    """Writes `config.checkpoint` to `workdir/checkpoint` in Scenic's msgpack layout, and `checkpoint.sha256`."""
    params = build.params(config, build.model(config, no_reduction()))
    path = save_checkpoint(workdir / "checkpoint", params)
    digest = checkpoint_digest(path)
    write_text(workdir / "checkpoint.sha256", f"{digest}  {path.name}\n")
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    print(f"wrote {path}: {count} parameters, sha256 {digest}")
    return SUCCESS
