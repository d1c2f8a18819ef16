"""`prepare`: writes videos as a data set of TensorFlow Datasets, for fast reading."""

import dataclasses

from etils import epath

from jax_vtm.config import Config
from jax_vtm.data import Failure
from jax_vtm.data.tfds_builders import remove_unfinished, write_videos
from jax_vtm.errors import shown
from jax_vtm.evaluation import build, head_names
from jax_vtm.evaluation.progress import Progress
from jax_vtm.evaluation.run_pass import code_of_failures
from jax_vtm.files import AnyPath, make_folder, staged, write_table, writing
from jax_vtm.lock import held
from jax_vtm.merging import no_reduction


def run(config: Config, workdir: AnyPath) -> int:
    """Writes the videos of `config.data` to `workdir/tfds/NAME/LAYOUT/VERSION`; returns the exit code."""
    model = build.model(config, no_reduction())
    source = build.videos(config, model)
    split = config.data.split or "validation"
    failures_csv = workdir / "failures.csv"
    failures: list[Failure] = []
    with held(workdir / "prepare.lock"), Progress(len(source), "videos") as progress:

        def on_video(failure: Failure | None) -> None:
            if failure is not None:
                failures.append(failure)
            progress.advance(1, f"{len(failures)} failed" if failures else "")

        try:
            with writing(workdir / "tfds"), staged(workdir / "tfds") as data_dir:
                # The failures of an earlier run are out of date.
                write_table(failures_csv, [])
                remove_unfinished(make_folder(data_dir))
                folder = write_videos(
                    config.data.name, source, epath.Path(data_dir), split, head_names(model), on_video
                )
                folder = workdir / "tfds" / folder.relative_to(data_dir)
        finally:
            write_table(failures_csv, [dataclasses.asdict(failure) for failure in failures])
    print(f"wrote {folder}: {len(source) - len(failures)} of {len(source)} videos, split {split!r}")
    print(f"evaluate them with --config.data.path={folder}")
    if failures:
        first = shown(f"{failures[0].id}: {failures[0].reason}")
        print(f"{len(failures)} left out, see {failures_csv}; first {first}")
    return code_of_failures(len(failures), config.data.max_failures, str(failures_csv))
