import numpy as np
import pytest
from ml_collections import ConfigDict
from recorded_training import SCENIC, VIDEOMAE, load

from jax_vtm.config import config_folder, default_config, load_config
from jax_vtm.config.scenic import adopted
from jax_vtm.data.augmentation.recipes import recipes
from jax_vtm.data.protocols import DATASETS
from jax_vtm.errors import UserError
from jax_vtm.models.presets import PRESETS
from jax_vtm.training import learning_rate_schedule, training_settings
from jax_vtm.training.recipes import published_recipe

LR = load(SCENIC / "lr")
SCENIC_CONFIGS = {
    "k400_b": ("vivit_b_16x2", "kinetics400"),
    "k400_b_fe": ("vivit_b_16x2_fe", "kinetics400"),
    "k400_l_fe": ("vivit_l_16x2_fe", "kinetics400"),
    "ssv2_l_fe": ("vivit_l_16x2_fe", "ssv2"),
    "epic_l_fe": ("vivit_l_16x2_fe_epic", "epic_kitchens_100"),
}


def settings_of(recipe, model, data, clips, **changes):
    config = default_config("some")
    config.model.name, config.data.name, config.train.recipe = model, data, recipe
    config.train.update(changes)
    return training_settings(config, PRESETS[model].build.family, clips)


@pytest.mark.parametrize("name", SCENIC_CONFIGS)
def test_scenics_recipes_count_steps_and_rates_as_its_configs_do(name):
    case = LR.settings[name]
    settings, fields = settings_of("standard", *SCENIC_CONFIGS[name], case["train_size"])
    configs = case["lr_configs"]
    assert (settings.batch_size, settings.steps) == (case["batch_size"], configs["steps_per_cycle"])
    assert (settings.learning_rate, settings.warmup_steps) == (configs["base_learning_rate"], configs["warmup_steps"])
    steps = LR.arrays[f"{name}/step"]
    inside = steps < settings.steps
    found = np.array([learning_rate_schedule(settings)(int(step)) for step in steps[inside]])
    np.testing.assert_allclose(found, LR.arrays[f"{name}/lr"][inside], rtol=0, atol=2e-6 * settings.learning_rate)
    assert fields.get("droplayer_rate", 0) == {"ssv2_l_fe": 0.3, "epic_l_fe": 0.2}.get(name, 0)


@pytest.mark.parametrize(("name", "data"), [("k400_base", "kinetics400"), ("ssv2_base", "ssv2")])
def test_videomaes_recipes_count_videos_once_and_clips_twice(name, data):
    case = load(VIDEOMAE / "videomae").settings["schedules"][name]
    videos = case["niter_per_ep"] * 384 + 100
    settings, _ = settings_of("standard", "videomae_b_16", data, 2 * videos)
    assert settings.steps == case["length"]
    assert settings.warmup_steps == case["warmup_epochs"] * case["niter_per_ep"]
    assert settings.learning_rate == pytest.approx(case["base_value"])
    assert settings.final_learning_rate == pytest.approx(case["final_value"])


def test_milestones_are_epochs_and_set_keys_take_the_place_of_the_recipes():
    settings, fields = settings_of("standard", "timesformer_b_8", "kinetics400", 6400, learning_rate=0.02)
    assert settings.steps == 1500
    rates = [float(learning_rate_schedule(settings)(step)) for step in (0, 1099, 1100, 1399, 1400)]
    assert rates == pytest.approx([0.02, 0.02, 0.002, 0.002, 0.0002])
    assert (settings.optimizer, settings.nesterov, settings.decayed) == ("sgd", True, "all")
    assert fields == {"droplayer_rate": 0.1}


def test_the_papers_faults_are_in_its_recipe():
    settings, _ = settings_of("paper", "videomae_b_16", "epic_kitchens_100", 6400)
    assert (settings.layer_decay, settings.decayed, settings.mixup) == (1.0, "all", 0.0)
    assert settings_of("paper", "vivit_b_16x2", "ssv2", 6400)[0].weight_decay == 1e-4


def test_every_row_makes_settings_and_others_are_refused_by_name():
    assert len(recipes()) == 14
    for recipe, family, data in recipes():
        model = next(name for name, preset in PRESETS.items() if preset.build.family == family)
        settings_of(recipe, model, "kinetics400" if data == "kinetics" else data, 100_000)
    assert published_recipe("standard", "videomae", "mine") == published_recipe("standard", "videomae", "kinetics400")
    with pytest.raises(UserError, match="no recipe 'paper' for motionformer on 'ssv2'"):
        published_recipe("paper", "motionformer", "ssv2")
    with pytest.raises(UserError, match=r"batch_size is 64; an epoch has only 63 clips"):
        settings_of("standard", "vivit_b_16x2", "kinetics400", 63)
    with pytest.raises(UserError, match=r"learning_rate is not set"):
        settings_of("", "vivit_b_16x2", "mine", 100, batch_size=2)
    with pytest.raises(UserError, match=r"train.schedule is 'linear'; known are cosine"):
        settings_of("standard", "vivit_b_16x2", "kinetics400", 6400, schedule="linear")


def test_a_batch_may_have_more_clips_than_an_epoch_where_nothing_is_counted_in_epochs(monkeypatch):
    fields = {"batch_size": 64, "learning_rate": 0.1, "steps": 3}
    assert settings_of("", "vivit_b_16x2", "mine", 63, **fields)[0].steps == 3
    with pytest.raises(UserError, match=r"only 63 clips to train on, so that warmup_epochs cannot be counted"):
        settings_of("", "vivit_b_16x2", "mine", 63, **fields, warmup_epochs=1.0)
    monkeypatch.setattr("jax.process_count", lambda: 4)
    del fields["batch_size"]
    assert settings_of("standard", "vivit_b_16x2", "ssv2", 6400, batch_size_per_host=8)[0].batch_size == 32
    with pytest.raises(UserError, match="batch_size and batch_size_per_host are both set"):
        settings_of("standard", "vivit_b_16x2", "ssv2", 6400, batch_size_per_host=8, batch_size=32)
    assert settings_of("standard", "vivit_b_16x2", "ssv2", 6400)[0].init_positions == "resize"


def test_every_config_of_a_model_and_data_set_has_a_recipe():
    for path in config_folder().glob("*_*_*.py"):
        config = load_config(path)
        if config.model.name in PRESETS and config.data.name in DATASETS:
            family = PRESETS[config.model.name].build.family
            known = {data for _, of, data in recipes() if of == family}
            assert ("kinetics" if config.data.name.startswith("kinetics") else config.data.name) in known, path


@pytest.mark.parametrize("name", ["k400_b", "k600_l_fe", "epic_l_fe"])
def test_scenics_own_training_config_is_taken_as_it_is(name):
    case = LR.settings[name]
    scenic = ConfigDict(
        {
            "dataset_configs": {"num_classes": 5, "num_frames": 4, "crop_size": 32, "tables": {"train": "train@2"}},
            "model_name": "vivit_classification",
            "model": {"temporal_encoding_config": {"kernel_init_method": "average_frame_initializer"}},
            "batch_size": case["batch_size"],
            "num_training_epochs": case["num_training_epochs"],
            "lr_configs": case["lr_configs"],
            "optimizer": "momentum",
            "optimizer_configs": {},
            "max_grad_norm": 1,
            "label_smoothing": None,
            "mixup": {"alpha": 0.3},
            "l2_decay_factor": 0,
            "init_from": {"checkpoint_path": "vit.npz", "positional_embed_size_change": "resize_tile"},
        }
    )
    config = adopted(scenic, "scenic.py")
    settings, _ = training_settings(config, "vivit", case["train_size"])
    configs = case["lr_configs"]
    assert settings.steps == configs["steps_per_cycle"]
    assert settings.warmup_steps == configs["warmup_steps"]
    assert (settings.optimizer, settings.clip_per_device, settings.gradient_norm) == ("sgd", True, 1.0)
    assert (settings.mixup, settings.label_smoothing, settings.weight_decay) == (0.3, 0.0, 0.0)
    assert config.init_from == "vit.npz"
    assert (config.train.init_positions, config.train.init_kernel) == ("resize_tile", "average_frame")
    scenic.lr_configs.factors = "constant * rsqrt_decay"
    with pytest.raises(UserError, match=r"config\.train\.learning_rate is not set"):
        training_settings(adopted(scenic, "scenic.py"), "vivit", case["train_size"])
