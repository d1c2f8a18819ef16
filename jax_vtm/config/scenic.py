"""Scenic's own ViViT config files as configs of ours: the same model, TFRecords, views and batches.

    python main.py --config=scenic/projects/vivit/configs/kinetics400/vivit_base_k400.py \
        --config.checkpoint=checkpoint --config.reduction.r=300

Training settings are left aside. Nothing of Scenic is imported.
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
