"""The default workdir: a folder named after all settings that results depend on."""

import hashlib
import json
import pathlib
import re
from collections.abc import Mapping, Sequence

from jax_vtm.config.defaults import Config, default_config
from jax_vtm.config.files import flattened

PARENT = pathlib.Path("runs")

_PREDICTION_SECTIONS = ("model.", "reduction.", "data.")
# Keys that do not affect predictions.
_NO_PREDICTION_KEYS = tuple(
    f"data.{key}"
    for key in ("description", "batch_size", "clips_at_once", "num_threads", "num_workers", "max_failures")
)
# Keys of commands' own sections that do not affect their results.
_NO_RESULT_KEYS = ("sweep.experiment", "sweep.runs_per_pass", "sweep.dry_run", "benchmark.dry_run", "train.log_every")

LONGEST_SUMMARY = 80


def prediction_settings(config: Config) -> dict[str, object]:
    """Returns the settings that predictions depend on, by dotted key."""
    return {
        key: value
        for key, value in flattened(config)
        if key.startswith((*_PREDICTION_SECTIONS, "seed", "checkpoint")) and key not in _NO_PREDICTION_KEYS
    }


def default_workdir(
    config: Config, written: Mapping[str, object], version: str, suffix: str = "", own_sections: Sequence[str] = ()
) -> pathlib.Path:
    """Returns the default workdir: the config's name, the changed settings, and a hash of all settings of the results.

    The same settings give the same folder, so that a stopped command resumes and `compare`, `visualize` and `study`
    find the evaluation.

    Args:
        config: With the flags.
        written: The values of the config file by dotted key.
        version: Of jax_vtm.
        suffix: Follows the config's name, for a command that does not share the evaluation's folder.
        own_sections: Sections of the config, and single keys, that the results depend on too.
    """
    settings = prediction_settings(config)
    own = {*own_sections}
    settings |= {k: v for k, v in flattened(config) if k.partition(".")[0] in own and k not in _NO_RESULT_KEYS}
    defaults = dict(flattened(default_config("")))
    given = {key: repr(value) for key, value in settings.items() if key not in defaults or value != defaults[key]}
    digest = hashlib.sha256(json.dumps([version, sorted(given.items())]).encode()).hexdigest()[:8]
    changed = [_summary(key, value) for key, value in settings.items() if key not in written or value != written[key]]
    readable = "-".join([_plain(config.name + suffix), *changed])[:LONGEST_SUMMARY].rstrip("-")
    return PARENT / f"{readable}-{digest}"


def _summary(key: str, value: object) -> str:
    """Shortens a setting: the last part of a common key, the last name of a path."""
    key = key.rpartition(".")[2] if key.startswith(_PREDICTION_SECTIONS) else key
    text = pathlib.PurePath(value).name if isinstance(value, str) else re.sub(r"[()\[\]{} ']", "", str(value))
    return _plain(f"{key}={text}")


def _plain(text: str) -> str:
    """Replaces characters that are special in file systems and shells."""
    return re.sub(r"[^A-Za-z0-9_.,=+-]+", "_", text.strip(",")) or "_"
