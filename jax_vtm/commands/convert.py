"""`python main.py convert`: rewrites a checkpoint of any kind that fits the config's model in our own form."""

import pathlib

import jax

from jax_vtm.checkpoints import checkpoint_digest, save_checkpoint
from jax_vtm.config import Config
from jax_vtm.errors import SUCCESS
from jax_vtm.evaluation import build
from jax_vtm.files import write_text
from jax_vtm.merging import no_reduction


def run(config: Config, workdir: pathlib.Path) -> int:
    """Reads `config.checkpoint` and writes `workdir/checkpoint`: Scenic's msgpack layout, parameters alone.

    Beside it lies `checkpoint.sha256`, which `sha256sum --check` reads.

    Returns:
        The exit code.
    """
    params = build.params(config, build.model(config, no_reduction()))
    path = save_checkpoint(workdir / "checkpoint", params)
    digest = checkpoint_digest(path)
    write_text(workdir / "checkpoint.sha256", f"{digest}  {path.name}\n")
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    print(f"wrote {path}: {count} parameters, sha256 {digest}")
    return SUCCESS
