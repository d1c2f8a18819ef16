"""Videos, pictures, records, checkpoints and configs in a bucket: the same as on a disk, with few requests."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_datasets as small
from array_record.python.array_record_module import ArrayRecordReader
from tfrecord_writer import write
from tiny_evaluation import FIELDS, write_config, write_videos

from jax_vtm import bucket
from jax_vtm.checkpoints import checkpoint_digest, load_checkpoint, save_checkpoint
from jax_vtm.config import load_config
from jax_vtm.data import ClipProtocol, load_frames, open_videos, source_digest, tfds_builders
from jax_vtm.models import create_model
from jax_vtm.regular_file import as_path

PROTOCOL = ClipProtocol(num_frames=4, stride=2, short_side=32, crop=32)


@pytest.fixture(scope="module")
def kinetics(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kinetics")
    small.write_kinetics(folder)
    small.write_kinetics_pictures(folder)
    rows = [f"{video} {small.FRAMES} {label}" for video, (label, _) in small.KINETICS.items()]
    (folder / "list" / "pictures.csv").write_text("\n".join(rows))
    return folder


def copy(folder: pathlib.Path, storage) -> str:
    """Copies a folder to the test's own in the bucket."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    bucket.upload({f"{storage.folder}/{path.relative_to(folder)}": str(path) for path in files})
    storage.requests.clear()
    return str(storage.folder)


def assert_same(ours, theirs):
    assert len(ours) == len(theirs) > 0
    for one, other in zip(ours, theirs, strict=True):
        assert (one.id, one.labels) == (other.id, other.labels)
        np.testing.assert_array_equal(load_frames(one, PROTOCOL), load_frames(other, PROTOCOL))


# What is opened, and how many requests each video takes.
SOURCES = {
    "files": ("folder", "videos", {}, 1),
    "pictures": ("folder", "pictures", {"num_classes": {"label": 400}}, 5),
    "a list": ("kinetics400", "videos", {"annotations": "list/val.csv"}, 1),
    "a list of pictures": ("kinetics400", "pictures", {"annotations": "list/pictures.csv"}, 5),
    "records": ("kinetics400", "records/test.tfrecord@2", {}, 1),
    "a pattern": ("kinetics400", "records/test.tfrecord-*", {}, 1),
}
# However many videos and folders there are.
TO_OPEN = 40


@pytest.mark.parametrize("what", SOURCES)
def test_videos_are_those_of_a_disk(kinetics, storage, what):
    kind, path, settings, each = SOURCES[what]
    remote = copy(kinetics, storage)

    def opened(root: object):
        named = {key: f"{root}/{value}" for key, value in settings.items() if key == "annotations"}
        return open_videos(kind, f"{root}/{path}", **(settings | named))

    found = opened(remote)
    assert len(storage.requests) <= TO_OPEN, storage.requests
    storage.requests.clear()
    assert_same(found, opened(kinetics))
    assert len(storage.requests) <= each * len(found), storage.requests


def as_tfrecords(folder: pathlib.Path) -> None:
    """Makes TFRecords of a data set's files, as TensorFlow would write them."""
    for file in folder.glob("*.array_record-*"):
        write(file.with_name(file.name.replace("array_record", "tfrecord")), ArrayRecordReader(str(file)).read_all())
        file.unlink()
    info = folder / "dataset_info.json"
    info.write_text(info.read_text().replace("array_record", "tfrecord"))


@pytest.mark.parametrize("form", ["array_record", "tfrecord"])
def test_data_sets_of_tensorflow_datasets_are_copied_once_or_read_in_place(
    kinetics, storage, tmp_path, monkeypatch, form
):
    monkeypatch.setenv("JAX_VTM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tfds_builders, "VIDEOS_PER_SHARD", 3)
    source = open_videos("folder", kinetics / "pictures", num_classes={"label": 400})
    data_dir = as_path(tmp_path / "tfds")
    written = tfds_builders.write_videos("tiny", source, data_dir, "validation", {"label": 400}, lambda failure: None)
    if form == "tfrecord":
        as_tfrecords(pathlib.Path(written))
        assert_same(open_videos("folder", written), source)
    remote = copy(pathlib.Path(written), storage)
    for split in ("validation", "validation[2:]"):
        ours, theirs = (open_videos("folder", root, split=split) for root in (remote, written))
        assert_same(ours, theirs)
        assert source_digest(ours) == source_digest(theirs)
    storage.requests.clear()
    ours = open_videos("folder", remote)
    asked_for = [path for _, path in storage.requests if form in path and "download" in path]
    # The beginnings of four records and, to be opened, of two files.
    assert len(asked_for) <= (0 if form == "array_record" else 6), asked_for
    assert bool([*(tmp_path / "cache").rglob(f"*{form}*")]) == (form == "array_record")


@pytest.mark.parametrize("form", ["msgpack", "orbax", "safetensors"])
def test_checkpoints_are_those_of_a_disk(storage, tmp_path, form):
    model = create_model("vivit_moving_digits", **FIELDS)
    params = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, *model.input_shape)))["params"]
    folder, name = tmp_path / "files", "checkpoint"
    folder.mkdir()
    if form == "msgpack":
        save_checkpoint(folder / name, params)
    elif form == "orbax":
        import orbax.checkpoint as ocp

        with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
            checkpointer.save(folder / name, {"params": jax.tree.map(np.asarray, params)})
    else:
        from flax.traverse_util import flatten_dict
        from safetensors.numpy import save_file

        name = "model.safetensors"
        save_file({key: np.asarray(leaf) for key, leaf in flatten_dict(params, sep="/").items()}, folder / name)
    remote = copy(folder, storage)
    ours, theirs = (load_checkpoint(f"{root}/{name}", model) for root in (remote, folder))
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)
    storage.requests.clear()
    assert checkpoint_digest(f"{remote}/{name}") == checkpoint_digest(folder / name)
    if form == "msgpack":
        reads = [path for _, path in storage.requests if path.startswith("/download")]
        assert len(reads) == 1, "of its beginning alone: it was hashed when it was loaded"


def test_configs_and_tables(storage, tmp_path):
    write_videos(tmp_path / "videos", 1)
    config = write_config(tmp_path, tmp_path / "videos")
    remote = copy(tmp_path, storage)
    assert load_config(as_path(f"{remote}/tiny.py")).to_json() == load_config(config).to_json()


def test_what_is_not_there(storage):
    for path in (f"{storage.folder}/none", "gs://nowhere/none"):
        with pytest.raises(ValueError, match=f"{path}.*(does not exist|no such)"):
            open_videos("folder", path)
        with pytest.raises(ValueError, match=f"{path}: no such file or directory"):
            load_checkpoint(path, create_model("vivit_moving_digits", **FIELDS))
