"""`visualize`: shows which tokens of a video are merged, layer by layer."""

import json
import os
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32

from jax_vtm.config import Config
from jax_vtm.data import ClipProtocol, VideoError, VideoItem, load_views, moving_digits
from jax_vtm.errors import SUCCESS, UserError
from jax_vtm.evaluation import Variant, build, clip_logits, trace_clip
from jax_vtm.evaluation.progress import waiting
from jax_vtm.evaluation.run_names import UNMERGED, run_name
from jax_vtm.files import AnyPath, write_text
from jax_vtm.merging import no_reduction
from jax_vtm.models import FactorisedAttentionViViT, VideoClassifier, num_merging_layers
from jax_vtm.models.releases import where_released
from jax_vtm.visualization.clip_files import folder_name, shown_clip, write_clip
from jax_vtm.visualization.page import visualization_headline, visualization_page
from jax_vtm.visualization.results import clip_summary, compared_predictions, summarise

FOLDER = "visualize"


def run(config: Config, workdir: AnyPath) -> int:
    """Writes the page, pictures and groups of clips to `workdir/visualize`; returns the exit code."""
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
    clips, class_names = _clips(config, model, protocol)
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
    """Parses `config.visualize.layers`: numbers such as "0,5", "all", or "" for the first, middle and last layer.

    Raises:
        UserError: The text is something else, or the model has no such layer.
    """
    words = [word.strip() for word in text.split(",")]
    if text == "all":
        return tuple(range(num_layers))
    if not text:
        return tuple(sorted({0, (num_layers - 1) // 2, num_layers - 1}))
    for word in words:
        # "²" is a digit, but no number.
        if not (word.isascii() and word.isdigit() and int(word) < num_layers):
            raise UserError(
                f"config.visualize.layers is {text!r}, with {word!r} in it; expected numbers from 0 to "
                f'{num_layers - 1}, the layers of the model, such as "0,1", or "all".'
            )
    return tuple(sorted({int(word) for word in words}))


def _variants(config: Config) -> tuple[Variant, Variant]:
    """Returns the unmerged and the merged model, with the checkpoint's or random weights.

    Raises:
        UserError: The config merges nothing, or has no weights.
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
    if merged.tokens_per_layer[-1] == unmerged.tokens_per_layer[0]:
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
            f"{config.name} has no checkpoint; give --config.checkpoint=FILE. {where} To see merging in an untrained "
            "model, give --config.visualize.random_weights=True."
        )
    if config.visualize.random_weights:
        clip = jnp.zeros((1, *unmerged.input_shape))
        params = jax.jit(unmerged.init)(jax.random.key(config.seed), clip)["params"]
    else:
        params = build.params(config, unmerged)
    return Variant(UNMERGED, unmerged, params), Variant(run_name(reduction), merged, params)


def _clips(
    config: Config, model: VideoClassifier, protocol: ClipProtocol
) -> tuple[list[tuple[VideoItem, Float32[np.ndarray, "T H W 3"]]], Mapping[str, Sequence[str]]]:
    """Loads the clips of `config.visualize`, each with its video, and class names by head where they are known."""
    keys, embedded = config.visualize, config.data.name == "moving_digits"
    if not 1 <= keys.view <= protocol.num_views:
        raise UserError(
            f"config.visualize.view is {keys.view}; the protocol takes {protocol.num_views} "
            f"view{'s' if protocol.num_views > 1 else ''} of a video, counted from 1."
        )
    if keys.num_videos < 1 and not keys.video:
        raise UserError(f"config.visualize.num_videos is {keys.num_videos}; expected at least 1.")
    if not (keys.video or config.data.path or embedded):
        raise UserError(
            "there is no video to show: give --config.visualize.video=FILE, or --config.data.path=FOLDER for the "
            "first videos of a folder."
        )

    def clip(item: VideoItem):
        return item, load_views(item, protocol)[keys.view - 1]

    if keys.video:
        try:
            shown = clip(VideoItem(os.path.basename(keys.video), keys.video))
        except VideoError as error:
            # With the whole path.
            raise VideoError(keys.video, error.reason) from error
        if config.data.path:
            return [shown], build.videos(config, model).class_names
        return [shown], moving_digits.CLASS_NAMES if embedded else {}
    source = build.videos(config, model)
    return [clip(source[index]) for index in range(min(keys.num_videos, len(source)))], source.class_names
