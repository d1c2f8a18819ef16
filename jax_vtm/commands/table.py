"""The table of commands: module, keys, files and examples of each. Needs no JAX."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Command:
    """A command of the command line.

    Attributes:
        module: Has `run(config, workdir)`, which returns the exit code.
        summary: For `--help`.
        keys: Sections and single keys of the config that it reads.
        leaves: Files that it writes to its workdir.
        examples: Arguments.
        own_sections: Sections of the config that its results depend on.
        shares_workdir: Whether its default workdir is that of `evaluate` with the same settings.
        default_config: The config of a command line without one.
        has_dry_run: Whether it has `--dry_run`.
    """

    module: str
    summary: str
    keys: tuple[str, ...]
    leaves: str
    examples: tuple[str, ...]
    own_sections: tuple[str, ...] = ()
    shares_workdir: bool = False
    default_config: str = "moving_digits"
    has_dry_run: bool = False


_MODEL = ("name", "checkpoint", "compilation_cache", "model", "reduction")
_RUN = ("seed", "backend", "trackers", "restart", "host_timeout_s")
_K400 = "--config=vivit_b_16x2_k400 --config.checkpoint=FILE"

COMMANDS = {
    "evaluate": Command(
        "jax_vtm.commands.evaluate",
        "accuracy, MACs and clips/s, unmerged and merged (default)",
        (*_MODEL, *_RUN, "data", "distributed"),
        "report.html figures/ results.json predictions.npz confusion.npz merged_tokens.png config.json; resume/, from "
        "which the same command resumes; failures.csv, if videos could not be read",
        (
            "--config.reduction.mode=drop --config.reduction.r=100",
            "--config.data.path=FOLDER",
            f"{_K400} --config.data.path=FOLDER --config.data.protocol=paper",
        ),
        shares_workdir=True,
    ),
    "predict": Command(
        "jax_vtm.prediction.command",
        "the classes of videos: predict FILE_OR_FOLDER...",
        (*_MODEL, "seed", "data", "predict"),
        "predict/ with report.html predictions.csv; failures.csv, if videos could not be read",
        ("clip.mp4", "FOLDER --config.predict.top=3", f"clip.mp4 FOLDER {_K400.replace('FILE', 'release')}"),
        shares_workdir=True,
    ),
    "sweep": Command(
        "jax_vtm.sweep.command",
        "many reductions of one model: accuracy over cost",
        (*_MODEL, *_RUN, "data", "sweep", "study.what"),
        "report.html figures/ sweep.csv results.json config.json; passes/ and resume/, from which it resumes",
        (
            "--dry_run",
            "--config.sweep.r=64,208 --config.sweep.inflection=0.0 --config.data.num_videos=120",
            "--config=paper_grid --dry_run",
        ),
        own_sections=("sweep",),
        has_dry_run=True,
    ),
    "calibrate": Command(
        "jax_vtm.calibration.command",
        "search how many tokens each layer should remove",
        (*_MODEL, *_RUN, "data", "calibrate"),
        "schedule.json, which --config.reduction=FILE takes, or schedule_BUDGET.json for each of several budgets; "
        "report.html figures/ results.json config.json; passes/, from which it resumes",
        (
            "",
            "--config.calibrate.budget=0.2 --config.calibrate.input=True",
            f"{_K400} --config.data.path=FOLDER --config.calibrate.budget=0.5,0.3",
            "--config.calibrate.tolerance=0.005 --config.calibrate.by=accuracy",
        ),
        own_sections=("calibrate",),
    ),
    "compare": Command(
        "jax_vtm.comparison.command",
        "compare two sets of predictions of the same videos",
        ("name", "seed", "compare"),
        "compare/ with report.html figures/ compare.json flips.csv; missing.csv, if videos are in only one",
        (
            "",
            "--config.compare.theirs=OTHER_WORKDIR",
            "--config.compare.ours=ours.csv --config.compare.theirs=theirs.pkl",
        ),
        shares_workdir=True,
    ),
    "visualize": Command(
        "jax_vtm.visualization.command",
        "an interactive page of the merged tokens of a video",
        (*_MODEL, "seed", "data", "visualize"),
        "visualize/ with report.html figures/ visualize.json and, for each clip, sheet.png groups.mp4 groups.gif "
        "membership.npz",
        (
            "",
            "--config.visualize.video=FILE --config.visualize.layers=0,1,3",
            f"{_K400} --config.visualize.video=FILE",
        ),
        shares_workdir=True,
    ),
    "study": Command(
        "jax_vtm.studies.command",
        "studies: spliced videos, one layer, finetuning with merging",
        (*_MODEL, *_RUN, "data", "study", "train", "clips"),
        "study/ with report.html figures/ results.json layers.csv config.json; of splices videos.csv, of layers "
        "and finetuning predictions.npz",
        (
            "--config=clip_splicing",
            "--config=layer_duplication",
            "--config=finetuned_merging",
            f"{_K400} --config.data.path=FOLDER --config.study.tubelets=1",
        ),
        shares_workdir=True,
    ),
    "parity": Command(
        "jax_vtm.parity.command",
        "our model next to Hugging Face's in PyTorch, by layer",
        (*_MODEL, "seed", "data", "parity"),
        "parity/ with report.html figures/ parity.json",
        ("", "--config=torch_parity", f"{_K400} --config.data.path=FOLDER --config.parity.clips=1"),
        shares_workdir=True,
    ),
    "benchmark": Command(
        "jax_vtm.benchmarks.command",
        "speed of models, their parts and loading",
        ("name", "compilation_cache", "restart", "backend", "model", "reduction", "data", "train", "benchmark"),
        "benchmark.jsonl benchmark.csv benchmark.json config.json; benchmark/ with report.html figures/. Of others "
        "than models all are called benchmark_WHAT",
        ("--dry_run", "--config.benchmark.what=device", "--config.benchmark.axes='model.attention=xla,chunked'"),
        own_sections=("benchmark", "train"),
        default_config="benchmark",
        has_dry_run=True,
    ),
    "finetune": Command(
        "jax_vtm.commands.finetune",
        "train a model on labelled videos, and evaluate it",
        (
            *("name", "init_from", "compilation_cache", "seed", "backend", "trackers", "host_timeout_s"),
            *("model", "reduction", "data", "train", "clips", "distributed"),
        ),
        "checkpoint; report.html train.csv evaluations.csv config.json; evaluation/ as of evaluate; init.csv, of what "
        "training began with; states/, with which the same command goes on after a stop; failures.csv, if videos "
        "could not be read",
        (
            "",
            "--config.train.steps=1000 --config.train.reduction='r=0,138'",
            "--config=vivit_b_16x2_k400 --config.init_from=ViT.npz --config.train.recipe=standard "
            "--config.data.path=FOLDER",
        ),
        own_sections=("train", "clips", "init_from"),
    ),
    "convert": Command(
        "jax_vtm.commands.convert",
        "convert a checkpoint of any format, or export its model",
        ("name", "seed", "checkpoint", "model", "reduction", "data", "convert"),
        "checkpoint checkpoint.sha256; or exported/",
        (
            "",
            _K400,
            "--config=videomae_b_ssv2 --config.checkpoint=checkpoint.pth --workdir=videomae",
            "--config.convert.to=stablehlo",
        ),
    ),
    "prepare": Command(
        "jax_vtm.commands.prepare",
        "write videos as TensorFlow Datasets records, for fast reading",
        ("name", "model", "data"),
        "tfds/NAME/LAYOUT/VERSION/; failures.csv, if videos could not be read",
        (
            "",
            "--config.data.path=FOLDER",
            "--config=vivit_b_16x2_k400 --config.data.path=FOLDER --config.data.split=validation",
        ),
    ),
}

# New names of commands by their old names.
RENAMED = {
    "ladder": "parity",
    "splice": "study --config.study.what=splices",
    "benchmark_data": "benchmark --config.benchmark.what=data",
    "benchmark_parts": "benchmark --config.benchmark.what=parts",
    "benchmark_scaling": "benchmark --config.benchmark.what=scaling",
}
