"""From a config to the things it describes: reductions, models, videos, protocols."""

import dataclasses
import importlib.metadata
import pathlib
import platform
import sys
import warnings
from typing import Any

import jax
import jax.numpy as jnp

import jax_vtm
from jax_vtm.checkpoints import checkpoint_digest, load_checkpoint
from jax_vtm.config import Config, prediction_settings
from jax_vtm.config.grid import REDUCTION_AXES, axes_of_words, combinations
from jax_vtm.data import (
    ClipProtocol,
    VideoSource,
    moving_digits,
    open_videos,
    published_protocol,
    source_digest,
    spread_evenly,
    without_spread,
)
from jax_vtm.data.protocol import SPREAD
from jax_vtm.data.sources import KINDS
from jax_vtm.data.sources.epic_kitchens import epic_class_names
from jax_vtm.errors import UserError
from jax_vtm.evaluation import Variant, head_names
from jax_vtm.evaluation.auto import with_fastest_backends
from jax_vtm.evaluation.batch_size import fitting_batch_size
from jax_vtm.evaluation.data_parallel import DataParallel
from jax_vtm.evaluation.progress import waiting
from jax_vtm.evaluation.run_names import UNMERGED, remarks, run_name
from jax_vtm.files import cache_folder
from jax_vtm.merging import Reduction, no_reduction
from jax_vtm.models import VideoClassifier, create_model, from_scenic_config
from jax_vtm.models.compute import narrowed
from jax_vtm.models.presets import checked_fields
from jax_vtm.models.releases import class_list, classes_within, release, released_classes, where_released
from jax_vtm.regular_file import as_path

DTYPES = {"float32": None, "bfloat16": jnp.bfloat16}

# Keys of config.data that take the place of a protocol's values; the model says the others.
PROTOCOL_KEYS = [field.name for field in dataclasses.fields(ClipProtocol) if field.name not in ("num_frames", "crop")]


def use_compilation_cache(folder: str) -> None:
    """Lets JAX keep compiled programs in a folder from run to run; an empty name keeps none."""
    if folder:
        jax.config.update("jax_compilation_cache_dir", str(pathlib.Path(folder).expanduser()))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def reduction(config: Config) -> Reduction:
    """Reads `config.reduction`.

    Raises:
        UserError: A value that cannot be, or does not fit the model.
    """
    return fitted(config, Reduction(**config.reduction.to_dict()))


def fitted(config: Config, reduction: Reduction) -> Reduction:
    """Returns a reduction with the choices of `config.model` where it leaves them to the model.

    Warns where a list of tokens to remove ends before the model's layers do.

    Raises:
        UserError: The list goes on after them.
    """
    model = _described(config, reduction)
    for remark in remarks(reduction, len(model.tokens_per_layer) - 1):
        warnings.warn(remark, stacklevel=1)
    return model.resolved(reduction)


def reductions(config: Config, words: str, where: str) -> list[Reduction]:
    """Reads reductions in words, such as "mode=merge r=0,100": every combination of the axes that are there.

    Args:
        config: Its `reduction` has the values of all other axes.
        words: The axes; without any there is no reduction.
        where: The key that holds them, for messages.

    Raises:
        UserError: A value that cannot be, or does not fit the model.
    """
    grid = axes_of_words(words, where)
    if not grid:
        return []
    given = {key: value for key, value in config.reduction.to_dict().items() if key not in grid}
    return [fitted(config, Reduction(**{**given, **one})) for one in combinations(grid, REDUCTION_AXES, where)]


def model(config: Config, reduction: Reduction) -> VideoClassifier:
    """Builds `config.model` with a reduction.

    Raises:
        UserError: Some value of it is not known, or cannot be computed in the way asked for on this platform.
    """
    built = _described(config, reduction)
    # A mistake is answered before videos are opened.
    _ = built.compute.chosen
    return built


def _described(config: Config, reduction: Reduction) -> VideoClassifier:
    """Builds the model, whether or not it can be computed here in the way asked for."""
    fields = config.model.to_dict()
    name, scenic, dtype = fields.pop("name"), fields.pop("scenic", None), fields.pop("dtype")
    if scenic is not None:
        built = from_scenic_config(**scenic)
        return built.clone(reduction=built.resolved(reduction), **checked_fields(name, type(built), fields))
    if dtype not in DTYPES:
        raise UserError(f"config.model.dtype is {dtype!r}; known are {', '.join(DTYPES)}.")
    built = create_model(name, reduction=reduction, dtype=DTYPES[dtype], **fields)
    return built.clone(reduction=built.resolved(reduction))


def params(config: Config, model: VideoClassifier) -> dict[str, Any]:
    """Loads `config.checkpoint` for a model.

    Raises:
        UserError: No checkpoint, or one that does not fit.
    """
    if not config.checkpoint:
        where = where_released(config.model.name, config.data.name)
        raise UserError(f"config.checkpoint is empty; give --config.checkpoint=FILE. {where}")
    with waiting("loading the checkpoint"):
        if config.checkpoint_classes:
            return _params_of_some_classes(config, model)
        return load_checkpoint(checkpoint(config), model)["params"]


def _params_of_some_classes(config: Config, model: VideoClassifier) -> dict[str, Any]:
    """Loads a checkpoint of more classes, and keeps the data set's rows of its head."""
    rows = classes_within(config.checkpoint_classes, config.data.name)
    if model.num_classes != len(rows):
        raise UserError(
            f"config.model.num_classes is {model.num_classes}; expected {len(rows)}, the classes of "
            f"{config.data.name!r} among config.checkpoint_classes={config.checkpoint_classes!r}."
        )
    stored = model.clone(num_classes=len(class_list(config.checkpoint_classes)))
    params = load_checkpoint(checkpoint(config), stored)["params"]
    head = {name: leaf[..., list(rows)] for name, leaf in params["output_projection"].items()}
    return {**params, "output_projection": head}


def checkpoint(config: Config) -> str:
    """Returns `config.checkpoint`, or for "release" the address of the file that was released for the config's model.

    Raises:
        UserError: None is known.
    """
    if config.checkpoint != "release":
        return config.checkpoint
    return release(config.model.name, config.data.name).url


def inference_params(config: Config, model: VideoClassifier) -> dict[str, Any]:
    """As `params`, with weights in the type that the model computes with."""
    return narrowed(params(config, model), model.dtype)


def load_variants(config: Config) -> list[Variant]:
    """Loads the checkpoint and gives its parameters to the model unmerged and, if asked for, merged.

    Raises:
        UserError: No checkpoint, or one that does not fit.
    """
    merged = reduction(config)
    unmerged = model(config, no_reduction())
    weights = inference_params(config, unmerged)
    variants = [Variant(UNMERGED, unmerged, weights)]
    if merged.mode != "none":
        variants.append(Variant(run_name(merged), model(config, merged), weights))
    return with_fastest_backends(variants)


def videos(config: Config, model: VideoClassifier) -> VideoSource:
    """Opens the videos of `config.data`; the embedded ones are in the cache, or come there as they are asked for.

    Raises:
        UserError: Neither a path nor embedded data, or what lies there does not fit the data set or the model.
    """
    data = config.data
    kind = data.kind or (data.name if data.name in KINDS else "folder")
    if data.num_videos < 0:
        raise UserError(f"config.data.num_videos is {data.num_videos}; expected how many to take, or 0 for all.")
    if data.name == "moving_digits" and not data.path:
        return _chosen(_embedded_videos(model), data)
    if not data.path:
        raise UserError(
            f"config.data.path is empty; {config.name} needs videos: --config.data.path=FOLDER, laid out as "
            f"docs/datasets.md describes for {kind!r}."
        )
    source = open_videos(
        kind,
        data.path,
        annotations=data.annotations,
        split=data.split or None,
        num_classes=head_names(model),
        class_names=moving_digits.CLASS_NAMES if data.name == "moving_digits" else None,
        # The paper's code misreads some; its protocol does too.
        timestamps="reference" if data.protocol == "paper" else "exact",
        label_offset=data.label_offset,
    )
    return _chosen(source, data)


def _chosen(source: VideoSource, data: Config) -> VideoSource:
    chosen = spread_evenly(source, data.num_videos) if 0 < data.num_videos < len(source) else source
    if not 0 <= data.leave_out < len(chosen):
        raise UserError(f"config.data.leave_out is {data.leave_out}; expected 0 or less than the {len(chosen)} videos.")
    return without_spread(chosen, data.leave_out) if data.leave_out else chosen


def _embedded_videos(model: VideoClassifier) -> VideoSource:
    classes, heads = head_names(model), moving_digits.CLASS_NAMES
    if classes != {head: len(names) for head, names in heads.items()}:
        expected = ", ".join(f"{head}:{len(names)}" for head, names in heads.items())
        raise UserError(
            f"the model's classes are {classes}; the embedded videos have {expected}. Give --config.data.path=FOLDER, "
            f"or --config.model.num_classes={expected.replace(' ', '')}."
        )
    return moving_digits.open_test_videos(cache_folder() / "moving_digits")


def class_names(config: Config, model: VideoClassifier) -> dict[str, tuple[str, ...]]:
    """The names of the classes of `config.model` by head, as far as the data set that it was trained on is known."""
    data, heads = config.data, head_names(model)
    if data.name == "moving_digits":
        known = moving_digits.CLASS_NAMES
    elif data.name == "epic_kitchens_100":
        place = as_path(data.annotations or data.path)
        known = epic_class_names(place if place.is_dir() else place.parent, heads)
    else:
        found = released_classes(model) if data.name in KINDS else ""
        known = dict.fromkeys(heads, class_list(found)) if found else {}
    return {head: tuple(names) for head, names in known.items() if len(names) == heads.get(head)}


def protocol(config: Config, model: VideoClassifier) -> ClipProtocol:
    """Reads how a video becomes views; frames and crop are the model's.

    Raises:
        UserError: There is no such protocol, values do not go together, or the model does not take squares.
    """
    frames, height, width, _ = model.input_shape
    if height != width:
        raise UserError(f"the model takes {height} x {width} pixels; evaluation crops squares.")
    data = config.data
    given = {key: data[key] for key in PROTOCOL_KEYS if data[key] is not None}
    if data.protocol:
        return published_protocol(data.protocol, model.family, data.name, num_frames=frames, crop=height, **given)
    stride = None if given.get("sampling") in SPREAD else 1
    return ClipProtocol(num_frames=frames, crop=height, **{"stride": stride, "short_side": 256, **given})


def videos_per_device(config: Config, unmerged: Variant, protocol: ClipProtocol) -> int:
    """Reads how many videos each device takes at a time; 0 finds out how many fit into its memory."""
    size = config.data.batch_size
    if size < 0:
        raise UserError(f"config.data.batch_size is {size}; expected videos per device, or 0 for as many as fit.")
    if size > 0:
        return size
    size = fitting_batch_size(
        unmerged.model,
        unmerged.params,
        protocol.views_shape,
        DataParallel(config.backend),
        clips_at_once=config.data.clips_at_once,
    )
    if jax.process_index() == 0:
        print(f"batch size: {size} video{'s' if size > 1 else ''} per device", file=sys.stderr)
    return size


def protocol_values(protocol: ClipProtocol) -> dict[str, Any]:
    """Returns a protocol's fields as JSON has them."""
    fields = dataclasses.asdict(protocol)
    return {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}


def fingerprint(config: Config, source: VideoSource, protocol: ClipProtocol) -> dict[str, Any]:
    """Collects everything that predictions depend on, but for rounding: a run goes on only where it is the same.

    Devices and versions of JAX are left out, so that a run may go on elsewhere. The videos themselves are not looked
    at: one that is replaced by another of the same name goes unnoticed.
    """
    values = prediction_settings(config)
    # The digest of what is in it says more, and the values of a protocol more than its name.
    del values["checkpoint"], values["data.protocol"]
    return {
        **values,
        # Whether it is said or left to the model makes no difference.
        "reduction.proportional_attention": reduction(config).proportional_attention,
        **{f"data.{name}": value for name, value in protocol_values(protocol).items()},
        "checkpoint (sha256)": checkpoint_digest(checkpoint(config)),
        "list of videos and labels (sha256)": source_digest(source),
        "version of jax_vtm": jax_vtm.__version__,
    }


def environment(config: Config, model: VideoClassifier) -> dict[str, Any]:
    """Says what a run ran on, and how things were computed there."""
    device = jax.local_devices()[0]
    return {
        "python": platform.python_version(),
        "jax": jax.__version__,
        "flax": importlib.metadata.version("flax"),
        "jax_vtm": jax_vtm.__version__,
        "platform": device.platform,
        "device_kind": device.device_kind,
        "num_devices": jax.device_count(),
        "num_processes": jax.process_count(),
        "backend": config.backend,
        "dtype": config.model.dtype,
        **model.compute.chosen,
    }
