"""`convert`: converts a checkpoint of any format, or exports its model as a program."""

import jax

from jax_vtm.checkpoints import checkpoint_digest, save_checkpoint
from jax_vtm.config import Config
from jax_vtm.errors import SUCCESS, UserError
from jax_vtm.evaluation import build
from jax_vtm.exporting.export import export_model
from jax_vtm.files import AnyPath, write_text
from jax_vtm.merging import no_reduction

FORMS = ("checkpoint", "stablehlo")


def run(config: Config, workdir: AnyPath) -> int:
    """Reads `config.checkpoint`, writes it in the form `config.convert.to`, and returns the exit code.

    "checkpoint" is `workdir/checkpoint`, Scenic's msgpack layout with parameters alone, with a `checkpoint.sha256` that
    `sha256sum --check` reads. "stablehlo" is the folder `workdir/exported` for `jax_vtm.load_exported`.
    """
    if config.convert.to not in FORMS:
        raise UserError(f"config.convert.to is {config.convert.to!r}; known are {', '.join(FORMS)}.")
    if config.convert.to == "stablehlo":
        return _export(config, workdir / "exported")
    params = build.params(config, build.model(config, no_reduction()))
    path = save_checkpoint(workdir / "checkpoint", params)
    digest = checkpoint_digest(path)
    write_text(workdir / "checkpoint.sha256", f"{digest}  {path.name}\n")
    print(f"wrote {path}: {_count(params)} parameters, sha256 {digest}")
    return SUCCESS


def _export(config: Config, folder: AnyPath) -> int:
    model = build.model(config, build.reduction(config))
    params = build.inference_params(config, model)
    export_model(
        folder,
        model,
        params,
        build.protocol(config, model),
        class_names=build.class_names(config, model),
        random_seed=config.seed,
        name=config.name,
        checkpoint_sha256=checkpoint_digest(build.checkpoint(config)),
    )
    print(f"wrote {folder}: {_count(params)} parameters; jax_vtm.load_exported runs it")
    return SUCCESS


def _count(params) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(params))
