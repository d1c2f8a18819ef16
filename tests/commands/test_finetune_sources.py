"""From videos in the layouts of UCF101, Kinetics and EPIC-KITCHENS to tiny models, trained and evaluated."""

import json
import pathlib

import numpy as np
import pytest
import small_datasets as small
from PIL import Image

from jax_vtm import cli
from jax_vtm import errors as exit_codes
from jax_vtm.config import load_config
from jax_vtm.data import write_h264
from jax_vtm.data.augmentation.settings import Augmentation
from jax_vtm.errors import UserError
from jax_vtm.evaluation import build
from jax_vtm.merging import no_reduction
from jax_vtm.training.sources import augmentation, open_training_clips

CONFIGS = pathlib.Path(__file__).parents[2] / "configs"
SETTINGS = {"compilation_cache": "", "reduction.r": 1, "data.short_side": 36, "data.num_clips": 1, "data.num_crops": 1}
SETTINGS |= {"train.steps": 2, "train.batch_size": 8, "train.learning_rate": 1e-2, "train.warmup_steps": 1.0}
SETTINGS |= {"train.checkpoint_every": 50, "train.log_every": 1}
DARK, BRIGHT = 0, 1


def frames(label, seed, count=12):
    """Dark or bright noise."""
    noise = np.random.default_rng(seed).integers(0, 60, (count, 24, 32, 3))
    return (noise + 150 * label).astype(np.uint8)


def ucf101(folder):
    """`<class>/<name>.avi`, and the official lists of two classes, which are not in alphabetical order."""
    names, lists = ("BabyCrawling", "ApplyLipstick"), folder / "ucfTrainTestlist"
    lists.mkdir()
    lines = {
        "classInd": [f"{number} {name}" for number, name in enumerate(names, 1)],
        "trainlist01": [],
        "testlist01": [],
    }
    for seed in range(12):
        label, path = seed % 2, f"{names[seed % 2]}/v_{seed:02d}.avi"
        (folder / path).parent.mkdir(exist_ok=True)
        write_h264(folder / path, frames(label, seed), fps=25)
        lines["trainlist01" if seed < 8 else "testlist01"].append(f"{path} {label + 1}" if seed < 8 else path)
    for name, rows in lines.items():
        (lists / f"{name}.txt").write_text("\r\n".join(rows))
    return ("--config.data.kind=kinetics400", f"--config.data.path={folder}", f"--config.data.annotations={lists}")


def kinetics(folder):
    """Video files, `train.csv` and `val.csv` of paths and classes."""
    for split, seeds in (("train", range(8)), ("val", range(8, 10))):
        for seed in seeds:
            (folder / split).mkdir(exist_ok=True)
            write_h264(folder / split / f"{seed}.mp4", frames(seed % 2, seed), fps=25)
        (folder / f"{split}.csv").write_text("".join(f"{split}/{seed}.mp4 {seed % 2}\n" for seed in seeds))
    return (f"--config.data.path={folder}",)


def epic_kitchens(folder):
    """Pictures of recordings, and the official csv files of actions."""
    pictures = folder / "P01" / "rgb_frames" / "P01_01"
    pictures.mkdir(parents=True)
    for number, frame in enumerate(np.concatenate([frames(n % 2, n, 30) for n in range(10)]), start=1):
        Image.fromarray(frame).save(pictures / f"frame_{number:010d}.jpg")
    columns = "narration_id,participant_id,video_id,start_timestamp,stop_timestamp,verb_class,noun_class"
    for split, actions in (("train", range(8)), ("validation", range(8, 10))):
        rows = [f"P01_01_{n},P01,P01_01,00:00:{n / 2:05.2f},00:00:{n / 2 + 0.5:05.2f},{n % 2},{n % 3}" for n in actions]
        (folder / f"EPIC_100_{split}.csv").write_text("\n".join([columns, *rows]))
    return (f"--config.data.path={folder}",)


def image_vit(path):
    """An image ViT of one layer, by timm's names."""
    linear = {"patch_embed.proj": (16, 3, 16, 16), "blocks.0.attn.qkv": (48, 16), "blocks.0.attn.proj": (16, 16)}
    linear |= {"blocks.0.mlp.fc1": (16, 16), "blocks.0.mlp.fc2": (16, 16), "head": (10, 16)}
    shapes = {f"{name}.weight": shape for name, shape in linear.items()}
    shapes |= {f"{name}.bias": shape[:1] for name, shape in linear.items()}
    norms = [f"{name}.{part}" for name in ("norm", "blocks.0.norm1", "blocks.0.norm2") for part in ("weight", "bias")]
    shapes |= {"cls_token": (1, 1, 16), "pos_embed": (1, 5, 16), **dict.fromkeys(norms, (16,))}
    rng = np.random.default_rng(0)
    np.savez(path, **{name: rng.normal(0, 0.1, shape).astype(np.float32) for name, shape in shapes.items()})
    return path


@pytest.fixture
def commands(tmp_path):
    """`commands(config's name, words)`: the shipped config with a tiny model, as a path."""

    def make(name, **changes):
        shipped = CONFIGS / f"{name}.py"
        return small.write_config(tmp_path / shipped.name, shipped, {**small.FIELDS, **changes}, SETTINGS)

    return make


def run(config, workdir, *words):
    command = [word for word in words if not word.startswith("-")]
    flags = [word for word in words if word.startswith("-")]
    return cli.run(["main.py", *command, f"--config={config}", f"--workdir={workdir}", *flags], config)


CASES = [
    ("vivit_b_16x2_k400", ucf101, {"num_classes": 2}, ("--config.data.stride=2", "--config.train.steps=30")),
    ("timesformer_b_k400", kinetics, {"num_classes": 2, "patch_size": (1, 16, 16)}, ("--config.data.stride=2",)),
    ("videomae_b_k400", kinetics, {"num_classes": 2}, ("--config.data.stride=2", "--config.train.batch_size=16")),
    ("motionformer_b_epic", epic_kitchens, {}, ("--config.data.stride=2",)),
]


@pytest.mark.parametrize(("name", "layout", "fields", "words"), CASES, ids=[case[0] for case in CASES])
def test_from_videos_some_of_them_broken_to_an_evaluated_model(commands, tmp_path, name, layout, fields, words, capsys):
    (tmp_path / "videos").mkdir()
    config = commands(name, **fields)
    words = (*layout(tmp_path / "videos"), "--config.train.recipe=standard", *words)
    broken = name == "timesformer_b_k400"
    if broken:
        words += (f"--config.init_from={image_vit(tmp_path / 'image.npz')}",)
        (tmp_path / "videos" / "train" / "3.mp4").write_bytes(b"no video")
    expected = exit_codes.TOO_MANY_FAILED if broken else exit_codes.SUCCESS
    assert run(config, tmp_path / "trained", "finetune", *words) == expected
    said = capsys.readouterr().err
    assert "data_wait" in said
    # Positions over time, temporal projection and head are not an image's.
    assert ("image.npz: 32 of 37 arrays taken, 5 new" in said) == broken
    assert ("warning: video train/3.mp4 is not trained on" in said) == broken
    failures = tmp_path / "trained" / "failures.csv"
    assert failures.exists() == broken
    if broken:
        assert "train/3.mp4" in failures.read_text()
        # The same command has nothing left to do, and still knows of it.
        assert run(config, tmp_path / "trained", "finetune", *words) == expected
        assert "train/3.mp4" in failures.read_text()
    results = json.loads((tmp_path / "trained" / "evaluation" / "results.json").read_text())
    assert results["dataset"]["n_ok"] == results["dataset"]["n_videos"] > 0
    if layout is ucf101:
        # Dark or bright is soon learned.
        assert results["runs"][0]["metrics"]["label/top1"]["correct"] == 4


@pytest.fixture
def settings(tmp_path):
    (tmp_path / "videos").mkdir()
    kinetics(tmp_path / "videos")
    config = load_config(CONFIGS / "vivit_b_16x2_ssv2.py")
    config.model.update({**small.FIELDS, "num_classes": 2})
    config.data.update({"kind": "kinetics400", "path": str(tmp_path / "videos"), "short_side": 36, "protocol": ""})
    return config


def opened(config):
    model = build.model(config, no_reduction())
    return open_training_clips(config, model, build.protocol(config, model))


def test_the_recipes_values_but_for_what_the_config_says(settings):
    settings.train.recipe = "standard"
    model = build.model(settings, no_reduction())
    assert augmentation(settings, model) == Augmentation(randaugment="scenic-m20-n2")
    settings.clips.update({"flip": True, "scale": (0.8, 1.2), "randaugment": ""})
    assert augmentation(settings, model) == Augmentation(flip=True, scale=(0.8, 1.2))
    settings.data.name = "mine"
    assert augmentation(settings, model).colour_probability == 0.8


def test_the_training_split_is_trained_on_and_never_that_of_the_evaluation(settings, tmp_path):
    assert opened(settings).per_epoch == 8
    folder = tmp_path / "videos"
    settings.clips.annotations = str(folder / "val.csv")
    with pytest.raises(UserError, match=r"its videos are evaluated, too. Give the videos to train on by config.clips"):
        opened(settings)
    settings.clips.annotations = ""
    settings.data.annotations = str(folder / "val.csv")
    assert opened(settings).per_epoch == 8
    (folder / "train.csv").unlink()
    with pytest.raises(UserError, match="there is neither a list of the videos nor one folder per class"):
        opened(settings)
