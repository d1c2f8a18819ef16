"""Scenic's own ViViT config files as configs of ours: the same model, TFRecords, views and batches.

    python main.py --config=scenic/projects/vivit/configs/kinetics400/vivit_base_k400.py \
        --config.checkpoint=checkpoint --config.reduction.r=300

Nothing of Scenic is imported.
"""

from typing import Any

from ml_collections import ConfigDict

from jax_vtm.config.defaults import Config, default_config
from jax_vtm.errors import UserError


def is_scenic(config: Config) -> bool:
    """Whether a config is one of Scenic's rather than ours."""
    return isinstance(config, ConfigDict) and "dataset_configs" in config and "data" not in config


def adopted(scenic: Config, name: str) -> Config:
    """Turns a config of Scenic's ViViT project into one of ours.

    - The test split of the TFRecords is evaluated, `dataset_configs.base_dir` / `tables.test`.
    - `num_test_clips`, `do_three_spatial_crops`, `stride`, `min_resize` and `label_offset` are kept, and so is
      `softmax_logits`, which Scenic's trainer means to read.
    - `test_batch_size` is of a host and, as Scenic asks for, its number of devices: one video per device at a time.
    - `multicrop_clips_per_device` clips go through the model at a time.
    - Optimizer, schedule, losses and `init_from` are those of `finetune`.
    - `tables.train` is trained on, changed as `augmentation_params` say. Scenic mirrors half of all clips, those of
      Something-Something too, which no key of it turns off; here `config.clips.flip=False` does.

    Args:
        scenic: What its `get_config` returned.
        name: What error messages call it.

    Raises:
        UserError: An entry that is needed is missing.
    """
    data = _entry(scenic, "dataset_configs", name)
    config = default_config(scenic.get("experiment_name", "scenic"))
    size = _entry(data, "crop_size", f"{name}: dataset_configs")
    model = {key: scenic[key] for key in ("model", "model_dtype_str") if key in scenic}
    config.model = {
        "name": _entry(scenic, "model_name", name),
        "dtype": scenic.get("model_dtype_str", "float32"),
        **{name: config.model[name] for name in ("attention", "matching", "merging")},
        "scenic": {
            "config": ConfigDict(model).to_dict(),
            "num_classes": _classes(data, name),
            "input_shape": (_entry(data, "num_frames", f"{name}: dataset_configs"), size, size, 3),
        },
    }
    config.data.name = scenic.get("dataset_name", "tfrecords")
    config.data.description = f"the test split of {name}"
    tables = data.get("tables", {})
    if "test" in tables:
        config.data.path = "/".join(filter(None, (data.get("base_dir", "").rstrip("/"), tables["test"])))
    config.data.stride = data.get("stride", 1)
    config.data.short_side = data.get("min_resize", size)
    config.data.num_clips = data.get("num_test_clips", 1)
    config.data.num_crops = 3 if data.get("do_three_spatial_crops", False) else 1
    config.data.view_average = "softmax" if scenic.get("multicrop_softmax_logits", False) else "logits"
    config.data.fast_jpeg = True
    config.data.label_offset = data.get("label_offset", 0)
    config.data.clips_at_once = scenic.get("multicrop_clips_per_device", 0)
    config.data.batch_size = 1
    if "train" in tables:
        config.clips.path = "/".join(filter(None, (data.get("base_dir", "").rstrip("/"), tables["train"])))
    config.clips.update(_augmentation(data.get("augmentation_params", {}), name))
    config.train.update(_training(scenic))
    config.init_from, start = _start(scenic)
    config.train.update(start)
    config.seed = scenic.get("rng_seed", 0)
    return config


def _augmentation(params: Any, name: str) -> dict[str, Any]:
    """Returns keys of `config.clips`. As in Scenic's pipeline RandAugment takes the place of other colours."""
    jitter = params.get("do_jitter_scale", False)
    others = ("do_random_erasing", "do_simclr_crop_resize", "do_simclr_style_augmentations")
    unknown = [key for key in others if params.get(key, False)]
    if jitter and params["prob_scale_jitter"] != 1:
        unknown.append("prob_scale_jitter")
    if unknown:
        raise UserError(f"{name}: dataset_configs.augmentation_params.{unknown[0]} is none that jax_vtm trains with.")
    clips = {"flip": True, "scale": (params["scale_min_factor"], params["scale_max_factor"]) if jitter else (1.0, 1.0)}
    if params.get("do_rand_augment", False):
        clips["randaugment"] = f"scenic-m{params['rand_augment_magnitude']}-n{params['rand_augment_num_layers']}"
    elif params.get("do_color_augment", False):
        clips["colour_probability"] = params["prob_color_augment"]
        clips["grey_probability"] = params["prob_color_drop"]
    return clips


def _training(scenic: Any) -> dict[str, Any]:
    """Returns keys of `config.train`; of other schedules and optimizers than the ViViT configs' only what is known."""
    rate, optimizer = scenic.get("lr_configs", {}), scenic.get("optimizer_configs", {})
    train = {
        "batch_size": scenic.get("batch_size"),
        "epochs": float(scenic.num_training_epochs) if "num_training_epochs" in scenic else None,
        "l2": scenic.get("l2_decay_factor") or 0.0,
        "kernel_decay": scenic.get("explicit_weight_decay") or 0.0,
        "label_smoothing": scenic.get("label_smoothing") or 0.0,
        "mixup": scenic.get("mixup", {}).get("alpha", 0.0),
        "gradient_norm": float(scenic.get("max_grad_norm") or 0.0),
        "clip_per_device": True,
        "seed": scenic.get("rng_seed", 0),
    }
    factors = sorted(factor.strip() for factor in rate.get("factors", "").split("*"))
    if scenic.get("optimizer") == "momentum" and factors == ["constant", "cosine_decay", "linear_warmup"]:
        train |= {
            "optimizer": "sgd",
            "momentum": float(optimizer.get("momentum", 0.9)),
            "nesterov": bool(optimizer.get("nesterov", False)),
            "weight_decay": float(optimizer.get("weight_decay") or 0.0),
            "decayed": "all",
            "schedule": "scenic",
            "learning_rate": float(rate.base_learning_rate),
            "final_learning_rate": float(rate.base_learning_rate * rate.get("alpha", 0.0)),
            "steps": int(rate.steps_per_cycle),
            "warmup_steps": float(rate.warmup_steps),
        }
    return {key: value for key, value in train.items() if value is not None}


def _start(scenic: Any) -> tuple[str, dict[str, Any]]:
    """Returns `config.init_from`, empty where the file has only a word in its place, and keys of `config.train`."""
    start = scenic.get("init_from", {})
    path = start.get("checkpoint_path") or ""
    kernel = scenic.model.get("temporal_encoding_config", {}).get("kernel_init_method", "central_frame_initializer")
    new = [] if start.get("restore_output_projection", False) else ["output_projection"]
    new += [] if start.get("restore_positional_embedding", True) else ["posembed_input"]
    new += [] if start.get("restore_input_embedding", True) else ["embedding"]
    positions = start.get("positional_embed_size_change") or "tile"
    keys = {"init_positions": positions, "init_kernel": kernel.removesuffix("_initializer"), "init_new": tuple(new)}
    return "" if path.startswith("path_to") else path, keys


def _classes(data: Any, name: str) -> int | dict[str, int]:
    """Classes, or classes per head; two heads' indices count through them in the config's order."""
    splits, names = data.get("class_splits"), data.get("split_names")
    if splits and names:
        if list(names) != sorted(names):
            raise UserError(
                f"{name}: dataset_configs.split_names are {', '.join(names)}; expected alphabetical order, in which "
                "the classes of a model's heads are stored here."
            )
        return dict(zip(names, splits, strict=True))
    return _entry(data, "num_classes", f"{name}: dataset_configs")


def _entry(mapping: Any, key: str, where: str) -> Any:
    if key not in mapping:
        raise UserError(f"{where} has no {key!r}, which Scenic's ViViT configs have.")
    return mapping[key]
