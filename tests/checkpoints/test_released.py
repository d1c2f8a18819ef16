"""Checkpoints by address, from a server on this machine: whole, cut, gone on with, refused, changed."""

import contextlib
import hashlib
import http.server
import json
import re
import socket
import sys
import threading
import types

import flax.serialization
import jax
import numpy as np
import pytest

from jax_vtm.benchmarks.inputs import random_params
from jax_vtm.checkpoints import CheckpointError, load_checkpoint, to_hugging_face
from jax_vtm.checkpoints.released import downloaded, web_address
from jax_vtm.files import cache_folder
from jax_vtm.models import create_model
from jax_vtm.models.releases import RELEASES, class_list, release, released_classes

CONTENT = np.random.default_rng(0).bytes(3_000_000)
FIELDS = {"num_classes": 5, "image_size": 16, "num_frames": 4, "patch_size": (2, 8, 8)}
FIELDS |= {"hidden_size": 16, "num_layers": 1, "num_heads": 2, "mlp_dim": 32}


class Server(http.server.ThreadingHTTPServer):
    """Gives one file, the first time perhaps less than all of it, and notes what it was asked for."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.tag, self.cut, self.type, self.headers = CONTENT, '"1"', None, "application/octet-stream", {}
        self.asked, self.ignores_ranges = [], False

    def url(self, path="/bucket/model/checkpoint"):
        return f"http://127.0.0.1:{self.server_port}{path}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self):
        server = self.server
        begin = int((re.findall(r"bytes=(\d+)-", self.headers.get("Range", "")) or [0])[0])
        if self.headers.get("If-Range", server.tag) != server.tag or server.ignores_ranges:
            begin = 0
        server.asked.append(begin)
        if "missing" in self.path:
            return self.send_error(404)
        if begin and begin >= len(server.content):
            return self.send_error(416)
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(server.content) - begin))
        self.send_header("Content-Type", server.type)
        self.send_header("ETag", server.tag)
        for name, value in server.headers.items():
            self.send_header(name, value)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(server.content) - 1}/{len(server.content)}")
        self.end_headers()
        end, server.cut = server.cut, None
        with contextlib.suppress(ConnectionError):
            self.wfile.write(server.content[begin:end])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_VTM_CACHE", str(tmp_path / "cache"))
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_file_is_downloaded_once_with_its_digest_next_to_it(server, capsys):
    path = downloaded(server.url())
    assert (
        path == cache_folder() / "checkpoints" / f"127.0.0.1_{server.server_port}" / "bucket" / "model" / "checkpoint"
    )
    assert path.read_bytes() == CONTENT
    digest = hashlib.sha256(CONTENT).hexdigest()
    assert path.with_name("checkpoint.sha256").read_text() == f"{digest}  checkpoint\n"
    assert sorted(file.name for file in path.parent.iterdir()) == ["checkpoint", "checkpoint.sha256"]
    assert downloaded(server.url()) == path
    assert server.asked == [0]
    said = capsys.readouterr().err
    assert f"downloading {server.url()}, 3 MB" in said
    assert said.count(f"checkpoint: {server.url()}; it is kept in {path}") == 1


def test_a_download_that_is_cut_goes_on_where_it_was(server):
    server.cut = 2_000_000
    with pytest.raises(CheckpointError, match=r"ended after 2,000,000 of 3,000,000 bytes|2,000,000 bytes are kept"):
        downloaded(server.url())
    assert downloaded(server.url()).read_bytes() == CONTENT
    assert server.asked == [0, 2_000_000]


@pytest.mark.parametrize("change", ["another version", "no ranges"])
def test_what_cannot_be_gone_on_with_begins_again(server, change):
    server.cut = 2_000_000
    with pytest.raises(CheckpointError):
        downloaded(server.url())
    if change == "another version":
        server.content, server.tag = CONTENT[::-1], '"2"'
    else:
        server.ignores_ranges = True
    assert downloaded(server.url()).read_bytes() == server.content
    assert server.asked == [0, 0]


def test_a_partial_file_that_is_too_long_begins_again(server):
    server.cut = 2_000_000
    with pytest.raises(CheckpointError):
        downloaded(server.url())
    server.content = CONTENT[:1_000_000]
    assert downloaded(server.url()).read_bytes() == CONTENT[:1_000_000]
    assert server.asked == [0, 2_000_000, 0]


@pytest.mark.parametrize(
    ("path", "settings", "message"),
    [
        ("/missing", {}, "answers 404 Not Found"),
        ("/page", {"type": "text/html"}, "is a web page"),
        ("/damaged", {"headers": {"x-goog-hash": "crc32c=AAAAAA==,md5=AAAAAAAAAAAAAAAAAAAAAA=="}}, "was damaged"),
    ],
)
def test_what_is_no_file_of_the_server_is_refused_and_not_kept(server, path, settings, message):
    vars(server).update(settings)
    with pytest.raises(CheckpointError, match=message):
        downloaded(server.url(path))
    assert not [file for file in cache_folder().rglob("*") if file.name in (path[1:], f"{path[1:]}.partial")]


def test_addresses_that_no_download_can_follow(server):
    with pytest.raises(CheckpointError, match="Google Drive serves large files to browsers only"):
        downloaded("https://drive.google.com/file/d/1")
    with pytest.raises(CheckpointError, match="is no URL of a file"):
        downloaded("https://host/")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(CheckpointError, match=r"cannot be downloaded: .*refused.* give the file with"):
            downloaded(f"http://127.0.0.1:{unused.getsockname()[1]}/checkpoint")
    assert web_address("gs://bucket/a file") == "https://storage.googleapis.com/bucket/a%20file"


def test_a_checkpoint_by_address_is_loaded_and_refused_when_it_changes_later(server):
    model = create_model("vivit_b_16x2", **FIELDS)
    params = random_params(model)
    server.content = flax.serialization.to_bytes({"params": params})
    loaded = load_checkpoint(server.url(), model)["params"]
    jax.tree.map(np.testing.assert_array_equal, params, loaded)
    kept = downloaded(server.url())
    data = bytearray(kept.read_bytes())
    data[len(data) // 2] ^= 1
    kept.write_bytes(data)
    with pytest.raises(CheckpointError, match="SHA-256"):
        load_checkpoint(server.url(), model)


def hugging_face_folder(folder, preset="videomae_b_16", **config):
    from safetensors.numpy import save_file

    model = create_model(preset, **FIELDS)
    variables = {"params": random_params(model)}
    folder.mkdir()
    save_file(to_hugging_face(variables, model), folder / "model.safetensors")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    patches = {"tubelet_size": 2, "patch_size": 8} if preset == "videomae_b_16" else {"tubelet_size": [2, 8, 8]}
    family = preset.partition("_")[0]
    config = {"model_type": family, "image_size": 16, "num_frames": 4, **sizes, **patches, **config}
    (folder / "config.json").write_text(json.dumps(config))
    return model


@pytest.mark.parametrize("preset", ["videomae_b_16", "vivit_b_16x2"])
def test_a_folder_of_hugging_face_is_compared_with_its_config(tmp_path, preset):
    model = hugging_face_folder(tmp_path / "same", preset)
    assert load_checkpoint(tmp_path / "same", model)["params"]
    # Neither is to be seen in any shape.
    hugging_face_folder(tmp_path / "other", preset, num_attention_heads=4, hidden_act="relu")
    with pytest.raises(CheckpointError, match=r"num_attention_heads is 4, the model's 2; hidden_act is 'relu'"):
        load_checkpoint(tmp_path / "other", model)
    (tmp_path / "other" / "config.json").write_text("[")
    with pytest.raises(CheckpointError, match="is no configuration"):
        load_checkpoint(tmp_path / "other", model)


def test_names_on_hugging_faces_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = hugging_face_folder(tmp_path / "folder")
    asked = []

    def snapshot_download(name, allow_patterns):
        asked.append(name)
        if name == "owner/none":
            raise OSError("401 Client Error:\nRepository Not Found")
        return str(tmp_path / "folder")

    monkeypatch.setitem(sys.modules, "huggingface_hub", types.SimpleNamespace(snapshot_download=snapshot_download))
    assert load_checkpoint("owner/model", model)["params"]
    with pytest.raises(CheckpointError, match=r"no model on Hugging Face's hub either .*Repository Not Found"):
        load_checkpoint("owner/none", model)
    # What may be a path is none of the hub's names.
    with pytest.raises(CheckpointError, match="no such file or directory"):
        load_checkpoint("folder/none", model)
    assert asked == ["owner/model", "owner/none"]
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(CheckpointError, match="pip install huggingface_hub"):
        load_checkpoint("owner/another", model)


def test_what_is_known_of_released_checkpoints():
    assert release("vivit_l_16x2_fe", "kinetics600").url.endswith("kinetics_600/vivit_large_16x2_fe/checkpoint")
    with pytest.raises(ValueError, match=r"on 'ssv2' is known, only those on kinetics400, kinetics600\."):
        release("vivit_l_16x2_fe", "ssv2")
    for preset, _ in RELEASES:
        create_model(preset)


@pytest.mark.parametrize(("name", "count"), [("kinetics400", 400), ("kinetics600", 600), ("ssv2", 174)])
def test_class_names_are_in_the_data_sets_own_order(name, count):
    names = class_list(name)
    assert len(set(names)) == len(names) == count
    # Their own lists are alphabetical.
    assert list(names) == sorted(names)


def test_a_models_classes_are_found_by_family_and_number():
    def found(preset, classes):
        return released_classes(create_model(preset, num_classes=classes))

    assert found("timesformer_b_8", 174) == "ssv2"
    assert found("motionformer_b_16", 710) == "kinetics710"
    assert found("vivit_b_16x2", 401) == found("vivit_b_16x2", {"verb": 97, "noun": 300}) == ""
    assert found("videomae_b_16", 710) == "kinetics710_videomae_v2"
    # As its authors' list of which outputs are those of Kinetics-400 has them.
    places = [class_list("kinetics710_videomae_v2").index(name) for name in class_list("kinetics400")[:3]]
    assert places == [341, 158, 189]
    assert sum(a != b for a, b in zip(*map(class_list, ("kinetics710", "kinetics710_videomae_v2")), strict=True)) > 700
