import json

import jax
import numpy as np
import pytest

from jax_vtm import cli
from jax_vtm import errors as exit_codes
from jax_vtm.benchmarks.inputs import random_params
from jax_vtm.checkpoints import save_checkpoint
from jax_vtm.config import load_config
from jax_vtm.data import load_views, open_videos
from jax_vtm.data.augmentation.settings import Augmentation
from jax_vtm.errors import UserError
from jax_vtm.evaluation import build
from jax_vtm.merging import no_reduction
from jax_vtm.training.sources import augmentation, open_training_clips

CONFIG = """
import ml_collections

def get_config():
    config = ml_collections.ConfigDict()
    config.experiment_name = "tiny_vivit"
    config.dataset_name = "video_tfrecord_dataset"
    config.dataset_configs = ml_collections.ConfigDict()
    config.dataset_configs.base_dir = {base_dir!r}
    config.dataset_configs.tables = {{"train": "train@2", "test": "test.tfrecord"}}
    config.dataset_configs.num_classes = 5
    config.dataset_configs.num_frames = 4
    config.dataset_configs.stride = 2
    config.dataset_configs.min_resize = 32
    config.dataset_configs.crop_size = 27
    config.dataset_configs.zero_centering = True
    config.dataset_configs.num_test_clips = 4
    config.dataset_configs.test_batch_size = 8
    config.dataset_configs.do_three_spatial_crops = True
    config.multicrop_clips_per_device = 2
    config.model_name = "vivit_classification"
    config.model = ml_collections.ConfigDict()
    config.model.attention_config = ml_collections.ConfigDict({{"type": "spacetime"}})
    config.model.patches = ml_collections.ConfigDict({{"size": (9, 9, 2)}})
    config.model.temporal_encoding_config = ml_collections.ConfigDict({{"method": "3d_conv"}})
    config.model.hidden_size = 16
    config.model.num_heads = 2
    config.model.num_layers = 2
    config.model.mlp_dim = 32
    config.model.representation_size = None
    config.model.classifier = "token"
    config.model_dtype_str = "float32"
    config.rng_seed = 3
    return config
"""


@pytest.fixture
def file(tmp_path, golden):
    path = tmp_path / "vivit_tiny.py"
    path.write_text(CONFIG.format(base_dir=str(golden / "scenic" / "tfrecord")))
    return path


def test_scenics_own_config_is_evaluated_with_its_views_records_and_batches(file, tmp_path, golden):
    config = load_config(file)
    model = build.model(config, no_reduction())
    assert model.input_shape == (4, 27, 27, 3)
    params = random_params(model)
    checkpoint = save_checkpoint(tmp_path / "checkpoint", params)
    out = tmp_path / "out"
    arguments = [
        f"--config={file}",
        f"--config.checkpoint={checkpoint}",
        "--config.reduction.r=3",
        "--config.compilation_cache=",
    ]
    assert cli.run(["main.py", *arguments, f"--workdir={out}"], file) == exit_codes.SUCCESS
    results = json.loads((out / "results.json").read_text())
    assert results["dataset"]["n_ok"] == 4
    assert results["protocol"]["num_clips"] == 4
    assert results["protocol"]["num_crops"] == 3
    assert results["runs"][1]["reduction"]["r"] == 3

    # Two clips at a time give what all at once give, and the clips are those that Scenic makes.
    with np.load(golden / "scenic" / "tfrecord" / "expected.npz") as expected:
        views = expected["views_clips_x3crops/image_uint8"].astype(np.float32) * np.float32(2 / 255) - 1
        labels = expected["views_clips_x3crops/label"].argmax(-1)
    logits = jax.jit(model.apply)({"params": params}, views).reshape(4, 12, 5)
    predictions = np.load(out / "predictions.npz")
    np.testing.assert_array_equal(predictions["labels/label"], labels)
    np.testing.assert_allclose(predictions["unmerged/logits/label"], logits, atol=1e-4)


def test_what_scenic_says_of_batches_and_views_is_kept(file):
    config = load_config(file)
    assert (config.name, config.seed) == ("tiny_vivit", 3)
    assert (config.data.batch_size, config.data.clips_at_once) == (1, 2)
    assert config.data.path.endswith("scenic/tfrecord/test.tfrecord")
    protocol = build.protocol(config, build.model(config, no_reduction()))
    assert (protocol.stride, protocol.short_side, protocol.crop, protocol.num_views) == (2, 32, 27, 12)
    assert protocol.fast_jpeg
    source = open_videos("folder", config.data.path, num_classes={"label": 5})
    assert load_views(source[0], protocol).shape == (12, 4, 27, 27, 3)


def test_two_heads(file):
    text = file.read_text().replace(
        "config.dataset_configs.num_classes = 5",
        'config.dataset_configs.class_splits = [4, 5]\n    config.dataset_configs.split_names = ["noun", "verb"]',
    )
    file.write_text(text)
    assert build.model(load_config(file), no_reduction()).heads == (("noun", 4), ("verb", 5))
    file.write_text(text.replace('["noun", "verb"]', '["verb", "noun"]'))
    with pytest.raises(UserError, match="split_names are verb, noun; expected alphabetical order"):
        load_config(file)


def test_a_missing_entry_is_named(file):
    file.write_text(file.read_text().replace("config.dataset_configs.crop_size = 27", "pass"))
    with pytest.raises(UserError, match=r"vivit_tiny\.py: dataset_configs has no 'crop_size'"):
        load_config(file)


def test_how_things_are_computed_can_be_chosen(file):
    config = load_config(file)
    config.model.attention, config.model.merging = "xla", "one_hot"
    assert build.model(config, no_reduction()).compute.chosen == {
        "attention": "xla",
        "matching": "chunked",
        "merging": "one_hot",
    }
    config.model.matching = "pallas"
    with pytest.raises(UserError, match="matching is 'pallas', which needs a GPU or a TPU"):
        build.model(config, no_reduction())


AUGMENTATION = """
    config.dataset_configs.augmentation_params = ml_collections.ConfigDict({params!r})
    return config
"""
JITTER = {"do_jitter_scale": True, "scale_min_factor": 0.9, "scale_max_factor": 1.33, "prob_scale_jitter": 1.0}
COLOURS = {"do_color_augment": True, "prob_color_augment": 0.8, "prob_color_drop": 0.1}
RANDAUGMENT = {"do_rand_augment": True, "rand_augment_num_layers": 2, "rand_augment_magnitude": 20}


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, Augmentation(scale=(1.0, 1.0), flip=True)),
        (JITTER | COLOURS, Augmentation(flip=True, colour_probability=0.8, grey_probability=0.1)),
        (JITTER | COLOURS | RANDAUGMENT, Augmentation(flip=True, randaugment="scenic-m20-n2")),
    ],
)
def test_its_training_videos_and_how_they_are_changed(file, params, expected):
    file.write_text(file.read_text().replace("    return config\n", AUGMENTATION.format(params=params)))
    config = load_config(file)
    assert config.clips.path.endswith("tfrecord/train@2")
    assert augmentation(config, build.model(config, no_reduction())) == expected


def test_training_clips_from_records(file):
    config = load_config(file)
    model = build.model(config, no_reduction())
    config.clips.update({"path": config.data.path, "scale": (0.9, 1.33)})
    config.data.path = ""
    batch = open_training_clips(config, model, build.protocol(config, model))(0, 2)
    assert batch.video.shape == (2, *model.input_shape)
    assert batch.video.dtype == np.uint8
    assert batch.mask.tolist() == [1, 1]
    assert set(batch.labels["label"]) < set(range(5))


def test_augmentation_that_there_is_not_here_is_refused(file):
    params = JITTER | {"prob_scale_jitter": 0.5}
    file.write_text(file.read_text().replace("    return config\n", AUGMENTATION.format(params=params)))
    with pytest.raises(UserError, match=r"augmentation_params.prob_scale_jitter is none that jax_vtm trains with"):
        load_config(file)
