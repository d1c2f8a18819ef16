"""`python main.py visualize`: which tokens of a video become one, layer by layer."""

import json
import pathlib

import jax
import jax.numpy as jnp

from jax_vtm.config import Config
from jax_vtm.errors import SUCCESS, UserError
from jax_vtm.evaluation import Variant, build, clip_logits, trace_clip
from jax_vtm.evaluation.progress import waiting
from jax_vtm.evaluation.run_names import UNMERGED, run_name
from jax_vtm.files import write_text
from jax_vtm.merging import no_reduction
from jax_vtm.models import FactorisedAttentionViViT, num_merging_layers
from jax_vtm.models.releases import where_released
from jax_vtm.visualization.clip_files import folder_name, shown_clip, write_clip
from jax_vtm.visualization.clips import chosen_clips
from jax_vtm.visualization.page import visualization_headline, visualization_page
from jax_vtm.visualization.results import clip_summary, compared_predictions, summarise

# A folder of its own, since the workdir may be that of an evaluation, with a report of its own.
FOLDER = "visualize"


def run(config: Config, workdir: pathlib.Path) -> int:
    """Shows clips of the config's videos and writes everything to the workdir's folder `visualize`.

    Returns:
        The exit code.
    """
    build.use_compilation_cache(config.compilation_cache)
    keys = config.visualize
    if keys.num_frames < 1:
        raise UserError(f"config.visualize.num_frames is {keys.num_frames}; expected at least 1.")
    if not 0.1 <= keys.fps <= 60:
        raise UserError(f"config.visualize.fps is {keys.fps:g}; expected frames per second from 0.1 to 60.")
    unmerged, merged = _variants(config)
    model = merged.model
    layers = layer_numbers(keys.layers, num_merging_layers(model))
    protocol = build.protocol(config, model)
    clips, class_names = chosen_clips(config, model, protocol)
    folder = workdir / FOLDER
    summaries, shown = [], []
    for number, (video, pixels) in enumerate(clips):
        view = {"view": keys.view - 1, "num_views": protocol.num_views}
        predictions = {}
        with waiting(f"running clip {number + 1} of {len(clips)}"):
            traced = trace_clip(merged, pixels, random_seed=config.seed, video=number, **view)
            if config.checkpoint:
                predictions = compared_predictions(clip_logits(unmerged, pixels), traced.logits, class_names)
        name = folder_name(number + 1, video.id)
        picture = shown_clip(model, protocol.pictures(pixels), traced.groups, layers, keys.num_frames)
        write_clip(folder / name, picture, keys.fps)
        shown.append(picture)
        summaries.append(clip_summary(video, name, protocol, keys.view, traced.groups, predictions))
    results = summarise(config, unmerged, merged, protocol, layers, summaries)
    visualization_page(results, shown, keys.fps).write(workdir, FOLDER)
    write_text(folder / "visualize.json", f"{json.dumps(results, indent=2, allow_nan=False)}\n")
    for line in (visualization_headline(results), *results["warnings"]):
        print(line)
    files = ", ".join(summary["folder"] for summary in summaries)
    print(f"results in {folder}: report.html, figures, visualize.json")
    print(f"sheet.png, groups.mp4, groups.gif and membership.npz in its {files}")
    return SUCCESS


def layer_numbers(text: str, num_layers: int) -> tuple[int, ...]:
    """Reads `config.visualize.layers`.

    Args:
        text: Numbers from 0 with commas between them, or "all"; "" is the first, the middle and the last.
        num_layers: Layers of the model.

    Raises:
        UserError: Something else, or a layer that the model does not have.
    """
    words = [word.strip() for word in text.split(",")]
    if text == "all":
        return tuple(range(num_layers))
    if not text:
        return tuple(sorted({0, (num_layers - 1) // 2, num_layers - 1}))
    for word in words:
        # "²" is a digit too, but no number.
        if not (word.isascii() and word.isdigit() and int(word) < num_layers):
            raise UserError(
                f"config.visualize.layers is {text!r}, with {word!r} in it; expected numbers from 0 to "
                f'{num_layers - 1}, the layers of the model, such as "0,1", or "all".'
            )
    return tuple(sorted({int(word) for word in words}))


def _variants(config: Config) -> tuple[Variant, Variant]:
    """The model that merges nothing and the one that does, with the checkpoint's weights or random ones.

    Raises:
        UserError: The config merges nothing, or does not say which weights.
    """
    reduction = build.reduction(config)
    if reduction.mode == "none":
        raise UserError(
            "config.reduction.mode is 'none', so that there are no groups to show; give another, such as "
            "--config.reduction.mode=merge --config.reduction.r=100."
        )
    unmerged, merged = build.model(config, no_reduction()), build.model(config, reduction)
    if isinstance(merged, FactorisedAttentionViViT):
        raise UserError(
            "factorised self-attention and factorised dot-product attention need all tokens on their grid and merge "
            "none, so that there are no groups to show; take the space-time model or the factorised encoder."
        )
    if merged.tokens_per_layer[0] == merged.tokens_per_layer[-1]:
        raise UserError(
            f"config.reduction.r is {reduction.r}, which removes no token, so that there are no groups to show; give "
            "more, such as --config.reduction.r=100."
        )
    if config.visualize.random_weights and config.checkpoint:
        raise UserError(
            f"config.visualize.random_weights is True, but there is a checkpoint, {config.checkpoint}; for random "
            "weights give --config.checkpoint= as well."
        )
    if not config.checkpoint and not config.visualize.random_weights:
        where = where_released(config.model.name, config.data.name)
        raise UserError(
            f"{config.name} has no checkpoint; give --config.checkpoint=FILE. {where} To see what "
            "merging does to a model that was never trained, give --config.visualize.random_weights=True."
        )
    if config.visualize.random_weights:
        clip = jnp.zeros((1, *unmerged.input_shape))
        params = jax.jit(unmerged.init)(jax.random.key(config.seed), clip)["params"]
    else:
        params = build.params(config, unmerged)
    return Variant(UNMERGED, unmerged, params), Variant(run_name(reduction), merged, params)
