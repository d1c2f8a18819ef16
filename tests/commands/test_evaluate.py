import json

import jax
import numpy as np
import pytest
from tiny_evaluation import draw_nothing, write_config, write_videos

from jax_vtm import cli
from jax_vtm import errors as exit_codes
from jax_vtm.checkpoints import load_checkpoint
from jax_vtm.commands import evaluate
from jax_vtm.config import load_config
from jax_vtm.data import load_views
from jax_vtm.errors import UserError
from jax_vtm.evaluation import build
from jax_vtm.merging import Reduction

IDS = [f"{i:03d}.mp4" for i in range(5)]


@pytest.fixture
def config(tmp_path):
    """A config of a tiny model with random weights, on a folder of six real videos, one of them broken."""
    videos = tmp_path / "videos"
    write_videos(videos, 5)
    (videos / "=broken.mp4").write_bytes(b"")
    (videos / "labels.csv").write_text((videos / "labels.csv").read_text().rstrip() + "\n=broken.mp4,0,0")
    config = load_config(write_config(tmp_path, videos))
    config.reduction.mode = "merge"
    return config


def test_a_folder_is_evaluated_from_files_to_results(config, tmp_path, capsys):
    workdir = tmp_path / "out"
    assert evaluate.run(config, workdir) == exit_codes.TOO_MANY_FAILED
    printed = capsys.readouterr()
    assert "merge r=6" in printed.out
    assert "1 video failed, more than data.max_failures = 0" in printed.err

    results = json.loads((workdir / "results.json").read_text())
    assert results["dataset"]["n_videos"] == 6
    assert (results["dataset"]["n_ok"], results["dataset"]["n_failed"]) == (5, 1)
    unmerged, merged = results["runs"]
    assert unmerged["tokens_per_layer"] == [33, 33, 33]
    assert merged["tokens_per_layer"] == [33, 27, 21]
    assert merged["mac_ratio"] < 1
    assert (workdir / "failures.csv").read_text().startswith("id,reason\n'=broken.mp4,")
    assert json.loads((workdir / "config.json").read_text())["reduction"]["r"] == 6

    saved = np.load(workdir / "predictions.npz")
    assert saved["ids"].tolist() == IDS
    assert saved["labels/noun"].tolist() == [0, 1, 2, 3, 4]
    for run in (unmerged, merged):
        logits = {head: saved[f"{run['name']}/logits/{head}"] for head in ("noun", "verb")}
        assert logits["noun"].shape == (5, 2, 10)
        right = {head: values.mean(axis=1).argmax(-1) == saved[f"labels/{head}"] for head, values in logits.items()}
        for head in right:
            assert run["metrics"][f"{head}/top1"]["correct"] == right[head].sum()
        assert run["metrics"]["action/top1"]["correct"] == (right["noun"] & right["verb"]).sum()

    confusion = np.load(workdir / "confusion.npz")
    for run in (unmerged, merged):
        for head in ("noun", "verb"):
            matrix, rows = confusion[f"{run['name']}/{head}"], run["classes"][head]
            assert matrix.diagonal().tolist() == [row["correct"] for row in rows]
            assert matrix.sum(axis=1).tolist() == [row["count"] for row in rows]

    page = (workdir / "report.html").read_text()
    assert "the file is empty" in page
    assert results["failures"] == [{"id": "=broken.mp4", "reason": results["failures"][0]["reason"]}]
    assert "data:image/png;base64" in page
    config.data.max_failures = 1
    assert evaluate.run(config, workdir) == exit_codes.SUCCESS
    # All that differs from run to run is in one place.
    again = json.loads((workdir / "results.json").read_text())
    assert results.pop("measured") != again.pop("measured")
    assert results == again


def test_logits_are_those_of_the_model_applied_to_the_decoded_clip(config, tmp_path):
    evaluate.run(config, tmp_path / "out")
    saved = np.load(tmp_path / "out" / "predictions.npz")
    model = build.model(config, Reduction(r=6))
    source = build.videos(config, model)
    variables = load_checkpoint(config.checkpoint, model)
    views = load_views(source[3], build.protocol(config, model))
    direct = jax.jit(model.apply)(variables, views)
    assert source[3].id == IDS[3]
    np.testing.assert_allclose(saved["merge r=6/logits/verb"][3], direct["verb"], atol=1e-5)


def test_without_labels_the_run_predicts(config, tmp_path, capsys):
    videos = tmp_path / "videos"
    (videos / "labels.csv").unlink()
    (videos / "=broken.mp4").unlink()
    assert evaluate.run(config, tmp_path / "out") == exit_codes.SUCCESS
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert not results["dataset"]["labelled"]
    assert results["runs"][0]["metrics"] == {}
    assert [entry["id"] for entry in results["runs"][0]["predictions"]] == IDS
    assert "000.mp4: noun" in capsys.readouterr().out


def test_nothing_readable_and_no_checkpoint_are_mistakes(config, tmp_path, capsys, monkeypatch):
    for path in (tmp_path / "videos").glob("*.mp4"):
        path.write_bytes(b"")
    monkeypatch.setattr(cli, "parse", lambda *_: ("evaluate", config, tmp_path / "out"))
    assert cli.run(["main.py"], tmp_path) == exit_codes.MISTAKE
    assert "none of the 6 videos could be read; the first is 000.mp4" in capsys.readouterr().err
    config.checkpoint = ""
    assert cli.run(["main.py"], tmp_path) == exit_codes.MISTAKE
    expected = "config.checkpoint is empty; give --config.checkpoint=FILE. No released checkpoint of"
    assert expected in capsys.readouterr().err


def test_as_many_videos_as_fit(config, tmp_path, capsys, monkeypatch):
    draw_nothing(monkeypatch.setattr)
    monkeypatch.setattr(build, "fitting_batch_size", lambda *args, **kwargs: 2)
    config.data.batch_size = 0
    evaluate.run(config, tmp_path / "out")
    assert "batch size: 2 videos per device" in capsys.readouterr().err
    config.data.batch_size = -1
    with pytest.raises(UserError, match=r"config\.data\.batch_size is -1; expected videos per device, or 0"):
        evaluate.run(config, tmp_path / "out")


def test_a_part_of_the_videos_is_spread_over_the_list(config, tmp_path):
    model = build.model(config, build.reduction(config))
    everything = [item.id for item in map(build.videos(config, model).__getitem__, range(6))]
    config.data.num_videos = 3
    part = build.videos(config, model)
    assert [part[i].id for i in range(len(part))] == everything[::2]
    config.data.num_videos = 99
    assert len(build.videos(config, model)) == 6
    config.data.num_videos = -1
    with pytest.raises(UserError, match=r"config\.data\.num_videos is -1"):
        build.videos(config, model)


@pytest.mark.parametrize("r", [(4,), (4, 0)])
def test_layers_that_a_list_does_not_reach_are_spoken_of(r, config, tmp_path, capsys, monkeypatch):
    draw_nothing(monkeypatch.setattr)
    config.reduction.r = r
    config.data.max_failures = 1
    monkeypatch.setattr(cli, "parse", lambda *_: ("evaluate", config, tmp_path / "out"))
    assert cli.run(["main.py"], tmp_path) == exit_codes.SUCCESS
    remark = "r lists 1 of the model's 2 layers; the others remove nothing."
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert said == [f"warning: {remark}"] * (len(r) == 1)
    assert [run["remarks"] for run in results["runs"]] == [[], [remark] * (len(r) == 1)]
    assert results["runs"][1]["tokens_per_layer"] == [33, 29, 29]
    # What was left to the model is resolved.
    assert results["runs"][1]["reduction"]["proportional_attention"] is True
