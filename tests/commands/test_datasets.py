"""The way of the data from end to end: small real data sets in every layout, through the command line.

Models are tiny, but of the real classes, with the real number of classes and the shipped configs. Every frame of the
videos says its number, so that the frames that a protocol chooses are compared with numbers worked out by hand.
"""

import dataclasses
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_datasets as small
from jax.experimental.compilation_cache import compilation_cache

from jax_vtm import cli
from jax_vtm import errors as exit_codes
from jax_vtm.checkpoints import save_checkpoint
from jax_vtm.config import load_config
from jax_vtm.data import load_frames
from jax_vtm.evaluation import build
from jax_vtm.merging import no_reduction
from jax_vtm.models.releases import class_list

CONFIGS = pathlib.Path(__file__).parents[2] / "configs"

LEFT_OF_CENTRE = (small.WIDTH - 32) // 2

# Worked out by hand for clips of 4 frames at stride 2.
SCENIC_4_CLIPS = [[0, 2, 4, 6], [4, 6, 8, 10], [8, 10, 12, 14], [12, 14, 16, 18]]
# 8/30 s at 25, 29.97, 50 and 25 frames per second, the last frame as early as the paper's code has it.
PAPER_KINETICS = [[0, 1, 3, 5], [0, 2, 4, 6], [0, 4, 8, 10], [0, 1, 3, 5]]
PAPER_SSV2 = [2, 7, 12, 16]
# 8/30 s of 24 and 15 pictures from numbers 6 and 12 on, at 60 per second, and of 20 from 10 on, at 50; the last picture
# of an action is never used.
STANDARD_EPIC = [
    [[6, 11, 16, 21], [10, 15, 20, 25]],
    [[12, 17, 22, 25], [12, 17, 22, 25]],
    [[10, 14, 18, 22], [13, 17, 21, 25]],
]


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """What one run left."""

    results: dict
    predictions: dict

    @property
    def ids(self) -> list[str]:
        return self.predictions["ids"].tolist()

    def labels(self, head: str = "label") -> list[int]:
        return self.predictions[f"labels/{head}"].tolist()

    def logits(self) -> dict:
        return {name: values for name, values in self.predictions.items() if "/logits/" in name}


@dataclasses.dataclass(frozen=True)
class Commands:
    """A shipped config with a tiny model, and the command line."""

    config: pathlib.Path
    workdirs: pathlib.Path

    def run(self, name: str, path: pathlib.Path, *flags: str, command: tuple[str, ...] = ()) -> int:
        words = ["main.py", *command, f"--config={self.config}", f"--workdir={self.workdirs / name}"]
        return cli.run([*words, f"--config.data.path={path}", *flags], self.config)

    def evaluate(self, name: str, path: pathlib.Path, *flags: str) -> Evaluated:
        assert self.run(name, path, *flags) == exit_codes.SUCCESS
        results = json.loads((self.workdirs / name / "results.json").read_text())
        assert results["dataset"]["n_ok"] == results["dataset"]["n_videos"]
        assert results["dataset"]["n_failed"] == 0
        assert [run["name"] for run in results["runs"]] == ["unmerged", "merge r=2"]
        with np.load(self.workdirs / name / "predictions.npz") as file:
            return Evaluated(results, dict(file))

    def prepare(self, name: str, path: pathlib.Path, *flags: str) -> pathlib.Path:
        """The folder of the records."""
        assert self.run(name, path, *flags, command=("prepare",)) == exit_codes.SUCCESS
        (info,) = (self.workdirs / name / "tfds").glob("*/*/*/dataset_info.json")
        return info.parent

    def numbers_seen(self, path: pathlib.Path, *flags: str) -> list:
        """The numbers on the frames of every video, [clips][frames] for each crop."""
        words = ["main.py", f"--config={self.config}", f"--config.data.path={path}", *flags]
        _, config, _ = cli.parse(words, self.config)
        model = build.model(config, no_reduction())
        source, protocol = build.videos(config, model), build.protocol(config, model)
        lefts = (0, LEFT_OF_CENTRE, 2 * LEFT_OF_CENTRE) if protocol.num_crops == 3 else (LEFT_OF_CENTRE,)
        if protocol.single_crop == "first":
            lefts = (0,)
        seen = []
        for item in source:
            views = load_frames(item, protocol).reshape(len(lefts), protocol.num_clips, *protocol.views_shape[1:])
            seen.append([small.read_numbers(crop, left) for crop, left in zip(views, lefts, strict=True)])
        return seen


@pytest.fixture(scope="module")
def commands(tmp_path_factory):
    """`commands(config's name)`: the shipped config with a tiny model and random weights."""
    folder = tmp_path_factory.mktemp("commands")

    def make(name: str) -> Commands:
        path = folder / f"{name}.py"
        if not path.exists():
            shipped = CONFIGS / f"{name}.py"
            config = load_config(shipped)
            config.model.update(small.FIELDS)
            model = build.model(config, no_reduction())
            params = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, *model.input_shape)))["params"]
            # Heads begin as zeros, and would predict the same for everything.
            leaves, tree = jax.tree.flatten(params)
            keys = jax.random.split(jax.random.key(1), len(leaves))
            leaves = [leaf + 0.1 * jax.random.normal(key, leaf.shape) for key, leaf in zip(keys, leaves, strict=True)]
            checkpoint = save_checkpoint(folder / f"{name}_checkpoint", jax.tree.unflatten(tree, leaves))
            values = {"checkpoint": str(checkpoint), "compilation_cache": str(folder / "compiled")}
            values |= {"reduction.r": 2, "data.short_side": 32}
            small.write_config(path, shipped, small.FIELDS, values)
        return Commands(path, folder / name)

    yield make
    # The commands have told JAX where to keep compiled programs.
    jax.config.update("jax_compilation_cache_dir", None)
    compilation_cache.reset_cache()


@pytest.fixture(scope="module")
def kinetics(tmp_path_factory):
    return small.write_kinetics(tmp_path_factory.mktemp("kinetics"))


@pytest.fixture(scope="module")
def ssv2(tmp_path_factory):
    return small.write_ssv2(tmp_path_factory.mktemp("ssv2"))


@pytest.fixture(scope="module")
def epic(tmp_path_factory):
    return small.write_epic(tmp_path_factory.mktemp("epic"))


def assert_same_predictions(ours: Evaluated, others: Evaluated) -> None:
    assert ours.logits().keys() == others.logits().keys()
    for name, logits in others.logits().items():
        np.testing.assert_array_equal(ours.logits()[name], logits, err_msg=name)
        # What is blind to its videos would be the same too.
        assert np.ptp(logits, axis=0).min() > 0


def test_kinetics_in_all_its_layouts(commands, kinetics):
    run, scenic = commands("vivit_b_16x2_k400"), ("--config.data.protocol=scenic", "--config.data.stride=2")
    videos = kinetics / "videos"
    by_list = run.evaluate("list", videos, f"--config.data.annotations={kinetics / 'list'}", *scenic)
    labels = [label for label, _ in small.KINETICS.values()]
    assert [pathlib.PurePath(name).stem for name in by_list.ids] == list(small.KINETICS)
    assert by_list.labels() == labels
    assert by_list.logits()["unmerged/logits/label"].shape == (4, 12, 400)

    official = f"--config.data.annotations={kinetics / 'official' / 'all.csv'}"
    by_csv = run.evaluate("official", videos, official, "--config.data.split=val", *scenic)
    assert by_csv.ids == list(small.KINETICS)
    assert by_csv.labels() == labels
    assert_same_predictions(by_csv, by_list)

    by_folder = run.evaluate("folders", videos, *scenic)
    assert by_folder.labels() == sorted(labels)
    order = np.argsort(labels)
    assert by_folder.ids == [by_list.ids[place] for place in order]
    for name, logits in by_folder.logits().items():
        np.testing.assert_allclose(logits, by_list.logits()[name][order], atol=1e-5)

    records = run.prepare("prepared", videos, f"--config.data.annotations={kinetics / 'list'}")
    stored = run.evaluate("tfds", records, *scenic)
    assert (stored.ids, stored.labels()) == (by_list.ids, labels)
    assert_same_predictions(stored, by_list)

    for path in (videos, records):
        flags = [f"--config.data.annotations={kinetics / 'list'}"] if path == videos else []
        assert run.numbers_seen(path, *flags, *scenic) == [[SCENIC_4_CLIPS] * 3] * 4
        paper = ("--config.data.protocol=paper", "--config.data.stride=2")
        assert run.numbers_seen(path, *flags, *paper) == [[[numbers]] for numbers in PAPER_KINETICS]


def test_pictures_in_folders_and_in_scenics_records(commands, tmp_path, capsys):
    small.write_kinetics_pictures(tmp_path)
    run, scenic = commands("vivit_b_16x2_k400"), ("--config.data.protocol=scenic", "--config.data.stride=2")
    loose = run.evaluate("pictures", tmp_path / "pictures", "--config.data.kind=folder", *scenic)
    stored = run.evaluate("tfrecord", tmp_path / "records" / "test.tfrecord@2", *scenic)
    for evaluated in (loose, stored):
        assert evaluated.ids == list(small.KINETICS)
        assert evaluated.labels() == [label for label, _ in small.KINETICS.values()]
    assert_same_predictions(stored, loose)
    pattern = tmp_path / "records" / "test.tfrecord-*"
    assert run.numbers_seen(pattern, *scenic) == [[SCENIC_4_CLIPS] * 3] * 4

    from_one = tmp_path / "records" / "from_one.tfrecord"
    shifted = run.evaluate("from one", from_one, "--config.data.label_offset=1", *scenic)
    assert shifted.labels() == loose.labels()
    capsys.readouterr()
    assert run.run("unshifted", from_one, *scenic) == exit_codes.MISTAKE
    assert "from_one.tfrecord, record 1 (counted from 0): clip/label/index is [400]" in capsys.readouterr().err


def test_unlabelled_videos_are_predicted_with_the_config_of_a_data_set(commands, kinetics, capsys):
    run = commands("vivit_b_16x2_k400")
    folder = kinetics / "videos" / "class_007"
    predicted = run.evaluate("unlabelled", folder, "--config.data.kind=folder", "--config.data.stride=2")
    (video,) = predicted.ids
    assert video == "aaaaaaaaaaa_000003_000013.mp4"
    assert "labels/label" not in predicted.predictions
    assert not predicted.results["dataset"]["labelled"]
    best = predicted.predictions["unmerged/logits/label"].mean(axis=1).argmax(-1)[0]
    best = class_list("kinetics400")[best]
    assert predicted.results["runs"][0]["predictions"] == [{"id": video, "label": best}]
    assert f"{video}: label {best}" in capsys.readouterr().out


def test_something_something_in_all_its_layouts(commands, ssv2):
    run, paper = commands("vivit_b_16x2_ssv2"), ("--config.data.protocol=paper", "--config.data.batch_size=1")
    annotations = f"--config.data.annotations={ssv2 / 'labels'}"
    videos = run.evaluate("videos", ssv2 / "videos", annotations, *paper)
    frames = run.evaluate("frames", ssv2 / "frames", annotations, *paper)
    for evaluated in (videos, frames):
        assert evaluated.ids == list(small.SSV2)
        assert evaluated.labels() == list(small.SSV2.values())
        assert evaluated.logits()["merge r=2/logits/label"].shape == (3, 1, 174)
    for name, path in (("videos", ssv2 / "videos"), ("frames", ssv2 / "frames")):
        records = run.prepare(f"prepared {name}", path, annotations)
        stored = run.evaluate(f"stored {name}", records, *paper)
        assert (stored.ids, stored.labels()) == (videos.ids, videos.labels())
        assert_same_predictions(stored, {"videos": videos, "frames": frames}[name])
        for place, flag in ((path, [annotations]), (records, [])):
            assert run.numbers_seen(place, *flag, *paper) == [[[PAPER_SSV2]]] * 3


def test_epic_kitchens_in_all_its_layouts(commands, epic):
    """Motionformer's own protocol: two of its ten clips, three crops, blue first."""
    run = commands("motionformer_b_epic")
    standard = ("--config.data.protocol=standard", "--config.data.stride=2", "--config.data.num_clips=2")
    annotations = f"--config.data.annotations={epic / 'annotations'}"
    layouts = {name: epic / name for name in ("published", "other", "videos")}
    evaluated = {name: run.evaluate(name, path, annotations, *standard) for name, path in layouts.items()}
    evaluated["tfrecord"] = run.evaluate("tfrecord", epic / "epic.tfrecord", *standard)
    records = {name: run.prepare(f"prepared {name}", layouts[name], annotations) for name in ("published", "videos")}
    stored = {name: run.evaluate(f"stored {name}", path, *standard) for name, path in records.items()}
    assert [path.parent.name for path in records.values()] == ["frames", "segments"]
    for one in (*evaluated.values(), *stored.values()):
        assert one.ids == list(small.EPIC)
        assert one.labels("verb") == [segment[3] for segment in small.EPIC.values()]
        assert one.labels("noun") == [segment[4] for segment in small.EPIC.values()]
        assert one.logits()["unmerged/logits/noun"].shape == (3, 6, 300)
    for other in (evaluated["other"], evaluated["tfrecord"], stored["published"]):
        assert_same_predictions(other, evaluated["published"])
    assert_same_predictions(stored["videos"], evaluated["videos"])

    for path in (*layouts.values(), epic / "epic.tfrecord", *records.values()):
        flags = [annotations] if path in layouts.values() else []
        assert run.numbers_seen(path, *flags, *standard) == [[clips] * 3 for clips in STANDARD_EPIC]
