import json

import pytest

from jax_vtm import errors as exit_codes
from jax_vtm.benchmarks import scaling as benchmark_scaling
from jax_vtm.config import default_config
from jax_vtm.errors import UserError


def test_every_number_of_devices_and_processes_is_measured_in_processes_of_its_own(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(benchmark_scaling, "STEPS", 3)
    monkeypatch.setattr(benchmark_scaling, "DEVICES", (2,))
    monkeypatch.setattr(benchmark_scaling, "PROCESSES", (2,))
    assert benchmark_scaling.run(default_config("scaling"), tmp_path / "out") == exit_codes.SUCCESS
    rows = json.loads((tmp_path / "out" / "benchmark_scaling.json").read_text())["rows"]
    settings = [(row["processes"], row["devices"], row["backend"]) for row in rows]
    assert settings == [(1, 2, "pmap"), (1, 2, "shard_map"), (2, 1, "pmap")]
    assert all(row["empty_batch_ms"] > 0 and row["vivit_clips_per_s"] > 0 for row in rows)
    assert len(capsys.readouterr().out.splitlines()) == 4


def test_what_goes_wrong_there_is_told():
    with pytest.raises(
        UserError, match=r"measuring 1 processes of 1 devices with pjit failed:(?s:.*)backend is 'pjit'"
    ):
        benchmark_scaling._measured(1, 1, "pjit")
