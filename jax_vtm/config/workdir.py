"""Where results go if nobody says it: a folder named after what is evaluated, so that two evaluations never meet."""

import hashlib
import json
import pathlib
import re
from collections.abc import Mapping

from jax_vtm.config.defaults import Config, default_config
from jax_vtm.config.files import flattened

PARENT = pathlib.Path("runs")

_PREDICTION_SECTIONS = ("model.", "reduction.", "data.")
# What makes no difference to predictions, or only through the values that it names.
_NO_PREDICTION_KEYS = tuple(
    f"data.{key}"
    for key in ("description", "batch_size", "clips_at_once", "num_threads", "num_workers", "max_failures")
)
# What makes none to the results of a command with a section of its own.
_NO_RESULT_KEYS = ("sweep.experiment", "sweep.runs_per_pass", "sweep.dry_run", "benchmark.dry_run", "train.log_every")

LONGEST_SUMMARY = 80


def prediction_settings(config: Config) -> dict[str, object]:
    """Returns what predictions depend on, as far as a config says it, under dotted keys."""
    return {
        key: value
        for key, value in flattened(config)
        if key.startswith((*_PREDICTION_SECTIONS, "seed", "checkpoint")) and key not in _NO_PREDICTION_KEYS
    }


def default_workdir(
    config: Config, written: Mapping[str, object], version: str, suffix: str = "", own_section: str = ""
) -> pathlib.Path:
    """Names the folder of a command's results: the config's name, what flags change, and a hash of all that matters.

    The same settings always give the same folder, so that a stopped command goes on and `compare`, `visualize` and
    `study` find the evaluation; any other setting that results depend on, wherever it is said, gives another.

    Args:
        config: With all that flags say.
        written: The values of the config file by dotted key.
        version: Of jax_vtm; predictions of two versions are not mixed.
        suffix: What follows the config's name, for a command that does not share the evaluation's folder.
        own_section: A section of the config on which its results depend as well.
    """
    settings = prediction_settings(config)
    if own_section:
        own = f"{own_section}."
        settings |= {key: v for key, v in flattened(config) if key.startswith(own) and key not in _NO_RESULT_KEYS}
    defaults = dict(flattened(default_config("")))
    said = {key: repr(value) for key, value in settings.items() if key not in defaults or value != defaults[key]}
    digest = hashlib.sha256(json.dumps([version, sorted(said.items())]).encode()).hexdigest()[:8]
    changed = [_summary(key, value) for key, value in settings.items() if key not in written or value != written[key]]
    readable = "-".join([_plain(config.name + suffix), *changed])[:LONGEST_SUMMARY].rstrip("-")
    return PARENT / f"{readable}-{digest}"


def _summary(key: str, value: object) -> str:
    """Writes a setting in short: the last part of a well-known key and, of a path, its last name."""
    key = key.rpartition(".")[2] if key.startswith(_PREDICTION_SECTIONS) else key
    text = pathlib.PurePath(value).name if isinstance(value, str) else re.sub(r"[()\[\]{} ']", "", str(value))
    return _plain(f"{key}={text}")


def _plain(text: str) -> str:
    """Replaces what file systems and shells have a meaning for."""
    return re.sub(r"[^A-Za-z0-9_.,=+-]+", "_", text.strip(",")) or "_"
