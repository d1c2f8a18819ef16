"""TensorBoard and Weights & Biases, if the config asks for them; else neither is imported.

Events of a run are functions of `Trackers`; where they go is a `Tracker`. Only process 0 writes.
"""

import contextlib
import importlib
import json
import re
from collections.abc import Mapping, Sequence
from types import ModuleType, TracebackType
from typing import Any, Protocol

from jax_vtm.config import Config
from jax_vtm.errors import UserError
from jax_vtm.files import AnyPath, make_folder, on_disk, staged

# Of a training run; an evaluation's series are its runs.
TRAINING = "train"


class Tracker(Protocol):
    """Where numbers go. Making one tells it the config."""

    def write(self, series: str, values: Mapping[str, float], step: int) -> None:
        """Writes values by name, of one of the series of this run."""
        ...

    def close(self) -> None:
        """Makes sure that all is written."""
        ...


class Trackers:
    """All that a run writes to. Use it as a context; `open_trackers` makes it."""

    def __init__(self, trackers: Sequence[Tracker]):
        self._trackers = tuple(trackers)

    def trained(self, step: int, metrics: Mapping[str, float]) -> None:
        """So many steps of training are done; the metrics are means since the last time."""
        self._write(TRAINING, metrics, step)

    def evaluated(self, results: Mapping[str, Any], prefix: str = "") -> None:
        """An evaluation is done: every run's metrics with their counts, costs and speed.

        Args:
            results: As `results.json` of `evaluate` holds them.
            prefix: Before the runs' names.
        """
        for run in results["runs"]:
            values = {"macs_per_clip": run["macs_per_clip"], "mac_ratio": run["mac_ratio"]}
            for name, metric in run["metrics"].items():
                values[name] = metric["value"]
                values |= {f"{name}/{part}": metric[part] for part in ("correct", "count")}
            measured = results["measured"]["runs"][run["name"]]
            values |= {name: measured[name] for name in ("clips_per_s", "speedup")}
            self._write(f"{prefix}{run['name']}", values, 0)

    def _write(self, series: str, values: Mapping[str, float], step: int) -> None:
        for tracker in self._trackers:
            tracker.write(series, values, step)

    def __enter__(self) -> "Trackers":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for tracker in self._trackers:
            tracker.close()


def open_trackers(config: Config, workdir: AnyPath, *, is_first: bool = True) -> Trackers:
    """Opens what `config.trackers` names, before there is anything to write.

    Args:
        config: Of the run; it is written, too.
        workdir: Where their files go.
        is_first: Whether this is process 0; others write nothing.

    Raises:
        UserError: An unknown tracker, or one whose package is not installed.
    """
    given = config.trackers
    words = [given] if isinstance(given, str) else list(given)
    names = list(dict.fromkeys(name.strip() for word in words for name in str(word).split(",") if name.strip()))
    for name in names:
        if name not in _TRACKERS:
            raise UserError(f"config.trackers holds {name!r}; known are {', '.join(_TRACKERS)}.")
    if not is_first:
        return Trackers([])
    # All packages before the first file.
    packages = {name: _imported(name, _TRACKERS[name][0]) for name in names}
    return Trackers([_TRACKERS[name][1](packages[name], config, workdir) for name in names])


def _imported(name: str, package: str) -> ModuleType:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise UserError(
            f"config.trackers asks for {name}, but the package {package} cannot be imported ({error}). Install it with "
            f'pip install "jax_vtm[{name}]", or pip install {package}; or leave {name} out.'
        ) from error


class _TensorBoard:
    """A folder of event files per series, so that TensorBoard draws the series as lines of one plot."""

    def __init__(self, package: ModuleType, config: Config, workdir: AnyPath):
        self._package, self._stack = package, contextlib.ExitStack()
        self._folder = self._stack.enter_context(staged(workdir / "tensorboard"))
        self._writers: dict[str, Any] = {}
        text = json.dumps(json.loads(config.to_json_best_effort()), indent=2)
        # Indented lines are code.
        self._writer("config").add_text("config", "\n".join(f"    {line}" for line in text.splitlines()), 0)

    def write(self, series: str, values: Mapping[str, float], step: int) -> None:
        writer = self._writer(series)
        for name, value in values.items():
            writer.add_scalar(name, value, step)
        writer.flush()

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()
        self._stack.close()

    def _writer(self, series: str) -> Any:
        if series not in self._writers:
            folder = make_folder(self._folder / re.sub(r"[^\w=.,+-]+", "_", series))
            self._writers[series] = self._package.SummaryWriter(str(folder))
        return self._writers[series]


class _WandB:
    """One run there per command; project, account and mode are as the environment of wandb says."""

    def __init__(self, package: ModuleType, config: Config, workdir: AnyPath):
        folder = make_folder(on_disk(workdir))
        values = json.loads(config.to_json_best_effort())
        self._run = package.init(name=config.name, config=values, dir=str(folder))

    def write(self, series: str, values: Mapping[str, float], step: int) -> None:
        self._run.log({f"{series}/{name}": value for name, value in values.items()}, step=step)

    def close(self) -> None:
        self._run.finish()


# Package and class by the tracker's name, which is also that of the extra.
_TRACKERS: dict[str, tuple[str, Any]] = {"tensorboard": ("tensorboardX", _TensorBoard), "wandb": ("wandb", _WandB)}
