"""Training in several processes: the same weights, and a signal to one stops all of them at the same step."""

import signal
import time

import jax
import numpy as np
import pytest
from jobs import DEADLINE_S, Job

from jax_vtm import errors as exit_codes
from jax_vtm.checkpoints import load_checkpoint
from jax_vtm.config import load_config
from jax_vtm.evaluation import build
from jax_vtm.merging import no_reduction

CONFIG = """
from jax_vtm.config import config_folder, load_config

def get_config():
    config = load_config(config_folder() / "moving_digits.py")
    config.compilation_cache = ""
    config.checkpoint = ""
    config.model.update(hidden_size=16, num_layers=1, mlp_dim=16)
    config.train.update(steps=6, batch_size=8, warmup_steps=1.0, log_every=1, checkpoint_every=100, evaluate=False)
    return config
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "digits.py"
    path.write_text(CONFIG)
    return path


def weights(config, workdir):
    return load_checkpoint(workdir / "checkpoint", build.model(load_config(config), no_reduction()))


@pytest.mark.parametrize("backend", ["pmap", "shard_map"])
def test_two_processes_train_as_one_also_after_a_signal(config, tmp_path, backend):
    words = ("finetune", f"--config.backend={backend}", f"--config.train.steps={6 if backend == 'pmap' else 2}")
    alone = Job(config, tmp_path / "alone", devices=2)
    assert alone.start(1, *words).wait() == [exit_codes.SUCCESS], alone.said(0)
    job = Job(config, tmp_path / "two")
    processes = job.start(2, *words).processes
    if backend == "pmap":
        deadline = time.monotonic() + DEADLINE_S
        # Both are connected then, and compile next.
        while not (tmp_path / "two" / "config.json").exists():
            assert time.monotonic() < deadline, job.said(0)
            assert all(process.is_alive() for process in processes), (job.said(0), job.said(1))
            time.sleep(0.01)
        job.kill(1, signal.SIGTERM)
        assert job.wait() == [exit_codes.STOPPED] * 2, (job.said(0), job.said(1))
        assert "the same command goes on" in job.said(0)
        job.start(2, *words)
    assert job.wait() == [exit_codes.SUCCESS] * 2, (job.said(0), job.said(1))
    assert ("continuing after step" in job.said(0)) == (backend == "pmap")
    jax.tree.map(
        lambda two, one: np.testing.assert_allclose(two, one, rtol=0, atol=1e-5),
        weights(config, tmp_path / "two"),
        weights(config, tmp_path / "alone"),
    )
