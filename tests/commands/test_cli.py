import importlib.util
import os
import pathlib
import re
import subprocess
import sys

import pytest

import jax_vtm
from jax_vtm import cli
from jax_vtm import errors as exit_codes
from jax_vtm.commands.table import COMMANDS
from jax_vtm.config import KEYS, load_config
from jax_vtm.errors import UserError

ROOT = pathlib.Path(__file__).parents[2]
DEFAULT = ROOT / "configs" / "moving_digits.py"
# All but the one that has no model of its own.
CONFIGS = sorted(set((ROOT / "configs").glob("*.py")) - {ROOT / "configs" / "paper_grid.py"})


def parse(*words: str):
    return cli.parse(["main.py", *words], DEFAULT)


def test_without_arguments_the_embedded_default_is_evaluated():
    command, config, workdir = parse()
    assert (command, config.name) == ("evaluate", "moving_digits")
    assert re.fullmatch(r"runs/moving_digits-[0-9a-f]{8}", str(workdir))


def workdir_of(*words: str) -> str:
    return str(parse(*words)[2])


def test_commands_find_the_folder_of_the_evaluation_with_the_same_settings():
    for flags in ((), ("--config.reduction.r=100", "--config.data.batch_size=2")):
        folders = {workdir_of(command, *flags) for command in ("evaluate", "compare", "visualize", "study", "parity")}
        assert folders == {workdir_of(*flags)}
    irrelevant = (
        "--config.restart=True",
        "--config.data.num_threads=1",
        "--config.visualize.layers=0",
        "--config.seed=0",
    )
    assert workdir_of(*irrelevant) == workdir_of()


OTHERS = [
    (["--config.reduction.mode=drop", "--config.reduction.r=100"], "moving_digits-mode=drop-r=100"),
    (["--config.reduction.mode=drop,merge"], "moving_digits-mode=drop,merge"),
    (["--config.reduction.r=(100, 50)"], "moving_digits-r=100,50"),
    (["--config.data.path=some/where/my videos"], "moving_digits-path=my_videos"),
    (["--config.data.path=other/where/my videos"], "moving_digits-path=my_videos"),
    (["--config.checkpoint=/a/\x1b[31m\udcff.npz"], "moving_digits-checkpoint=_31m_.npz"),
    (["--config.seed=1"], "moving_digits-seed=1"),
    (["--config.data.protocol=paper"], "moving_digits-protocol=paper"),
    (["--config.model.num_classes=verb:9,noun:3"], "moving_digits-noun=3-verb=9"),
    (["--config.name=mine"], "mine"),
    (["sweep"], "moving_digits_sweep"),
    (["sweep", "--config.sweep.r=64,208"], "moving_digits_sweep-sweep.r=64,208"),
    (["finetune", "--config.train.steps=9"], "moving_digits_finetune-train.steps=9"),
    (["convert"], "moving_digits_convert"),
    (["benchmark"], "benchmark"),
    (["benchmark", "--config.benchmark.what=parts"], "benchmark-benchmark.what=parts"),
    (["--config.data.description=" + 99 * "x", "--config.data.annotations=" + 99 * "x"], "moving_digits-annotati"),
]


@pytest.fixture(scope="module")
def workdirs():
    return [workdir_of(*words) for words, _ in OTHERS]


@pytest.mark.parametrize(("words", "name"), OTHERS)
def test_other_settings_have_another_folder_with_a_name_that_says_them(words, name, workdirs):
    workdir = workdir_of(*words)
    assert workdir.startswith(f"runs/{name}")
    assert re.fullmatch(r"runs/[\w.,=+-]{1,80}-[0-9a-f]{8}", workdir)
    assert [OTHERS[place][0] for place, other in enumerate(workdirs) if other == workdir] == [words]


def test_a_config_file_that_is_edited_has_another_folder(tmp_path):
    text = DEFAULT.read_text()
    for changed in (text, text.replace("r = 138", "r = 137")):
        (tmp_path / "moving_digits.py").write_text(changed)
        same = workdir_of(f"--config={tmp_path / 'moving_digits.py'}") == workdir_of()
        assert same == (changed == text)


def test_flags_may_stand_anywhere_and_override_the_config():
    command, config, workdir = parse(
        "finetune", "--config.train.steps=7", f"--config={DEFAULT}", "--workdir=here", "--config.reduction.mode=drop"
    )
    assert (command, config.train.steps, config.reduction.mode, workdir) == (
        "finetune",
        7,
        "drop",
        pathlib.Path("here"),
    )


@pytest.mark.parametrize(("text", "r"), [("7", 7), ("(200, 100)", (200, 100)), ("200,100", (200, 100))])
def test_r_is_a_number_or_one_per_layer(text, r):
    _, config, _ = parse(f"--config.reduction.r={text}")
    assert config.reduction.r == r


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--config.reduction.mod=drop"], r"no key 'reduction.mod'. Did you mean --config.reduction.mode\?"),
        (["--config.batch_size=4"], r"no key 'batch_size'. Did you mean --config.(data|train).batch_size\?"),
        (["--config.zzz=1"], r"no key 'zzz'. Its keys are .*reduction.mode"),
        (["--confg=x"], r"'confg'"),
        (["evalute"], r"no command 'evalute'. Did you mean 'evaluate'\?"),
        (["evaluate", "finetune"], r"expected one command, found evaluate finetune"),
        (["--config.reduction.r=many"], r"reduction.r.*many"),
        (["--config=configs/none.py"], r"configs/none.py: there is no such config file"),
    ],
)
def test_mistakes_are_explained_and_exit_with_two(words, message, capsys):
    with pytest.raises(UserError, match=message):
        parse(*words)
    assert cli.run(["main.py", *words], DEFAULT) == exit_codes.MISTAKE
    printed = capsys.readouterr()
    assert printed.err.startswith("error: ")
    assert printed.out == ""


def seconds_of(*words: str) -> tuple[float, subprocess.CompletedProcess[str]]:
    """Runs a command, and returns how long it was at work; what else a machine does is not the program's fault."""
    before = os.times()
    done = subprocess.run([sys.executable, "main.py", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    after = os.times()
    return after.children_user - before.children_user + after.children_system - before.children_system, done


def help_of(capsys, *words: str) -> str:
    assert cli.run(["main.py", *words], DEFAULT) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    return text


def test_help_is_one_screen_and_so_short_a_wait(capsys):
    text = help_of(capsys, "--help")
    assert len(text.splitlines()) <= 24
    assert set(re.findall(r"^  (\w+) +\w", text, flags=re.MULTILINE)) == set(COMMANDS)
    # One of three, since a busy machine makes processes slower, too.
    assert any(seconds_of("sweep", "--help")[0] < 1 for _ in range(3))


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_has_its_keys_alone_with_what_they_are(name, capsys):
    command = COMMANDS[name]
    text = help_of(capsys, name, "--help", "--config.model.name=videomae_b_16")
    assert text.startswith(f"python main.py {name}: ")
    for example in command.examples:
        words = f"{name} {example}".split()
        assert f"python main.py {' '.join(words)}" in " ".join(text.split())
        assert parse(*words, "--workdir=here")[0] == name
    assert " ".join(command.leaves.split()) in " ".join(text.split())
    listed, section = [], ""
    for line in text.partition("keys, with")[2].splitlines():
        if heading := re.match(r"(?:(\w+)\.KEY: |general$)", line):
            section = f"{heading[1]}." if heading[1] else ""
        elif found := re.match(r"  (\w[\w.]*)", line):
            listed.append(section + found[1])
    prefixes = tuple(f"{one}." for one in command.keys)
    assert sorted(listed) == sorted(key for key in KEYS if key.startswith(prefixes) or key in command.keys)
    said = " ".join(text.split())
    assert all(KEYS[key][1] in said for key in listed)
    assert ("name='videomae_b_16'" in text) == ("model" in command.keys)


# What commands look at only to say that it is not theirs.
REFUSED = {"finetune": {"data"}}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_reads_no_section_that_its_help_does_not_have(name):
    home = importlib.util.find_spec(COMMANDS[name].module)
    path = pathlib.Path(str(home and home.origin))
    files = [path] if path.parent.name == "commands" else path.parent.rglob("*.py")
    read = {section for file in files for section in re.findall(r"(?<!-)\bconfig\.(\w+)", file.read_text())}
    known = {key.partition(".")[0] for key in COMMANDS[name].keys}
    assert read & {key.partition(".")[0] for key in KEYS} <= known | REFUSED.get(name, set())


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--config.reduction.mode=marge", "reduction.mode is 'marge'; known are none, merge"),
        ("--config.checkpoint=nowhere/file", "nowhere/file: no such file"),
        ("--config=vivit_b_16x2_k400", "config.checkpoint is empty"),
    ],
)
def test_a_mistake_is_answered_within_three_seconds(flag, said, tmp_path):
    seconds, done = seconds_of(flag, f"--workdir={tmp_path}")
    assert done.returncode == exit_codes.MISTAKE
    assert said in done.stderr
    assert seconds < 3


def test_the_version_is_told(capsys):
    assert help_of(capsys, "--version") == f"jax_vtm {jax_vtm.__version__}\n"


def test_a_reader_that_has_seen_enough_is_no_reason_for_a_traceback():
    reading, writing = os.pipe()
    os.close(reading)
    words = [sys.executable, "main.py", "--help"]
    done = subprocess.run(words, cwd=DEFAULT.parents[1], stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (exit_codes.FAILURE, b"")


VIDEOMAE = ("--config.model.name=videomae_b_16", "--config.sweep.mode=merge", "--config.sweep.inflection=0.0")


@pytest.mark.parametrize(
    ("words", "runs"),
    [
        ((), ["merge r=9, no proportional attention"]),
        (("--config.sweep.proportional_attention=(None, False)",), ["merge r=9, no proportional attention"]),
        (
            ("--config.sweep.proportional_attention=(None, True, False)",),
            ["merge r=9, no proportional attention", "merge r=9"],
        ),
        (("--config.reduction.proportional_attention=True",), ["merge r=9"]),
        (("--config.model.name=vivit_b_16x2", "--config.sweep.proportional_attention=(None, True)"), ["merge r=9"]),
    ],
)
def test_proportional_attention_is_the_models_own_where_nothing_is_said(words, runs, capsys):
    assert cli.run(["main.py", "sweep", "--dry_run", "--config.sweep.r=9", *VIDEOMAE, *words], DEFAULT) == 0
    listed = re.findall(r"merge r=9[^|│]*?(?=  |$)", capsys.readouterr().out, flags=re.MULTILINE)
    assert list(dict.fromkeys(map(str.strip, listed))) == runs


def test_a_benchmark_takes_the_models_own_and_the_same_in_words_for_one(capsys):
    axes = "reduction.r=9 reduction.proportional_attention="
    for values, rows in (("None,False", 1), ("None,True,False", 2)):
        words = ["benchmark", "--dry_run", VIDEOMAE[0], f"--config.benchmark.axes={axes}{values}"]
        assert cli.run(["main.py", f"--config={DEFAULT}", *words], DEFAULT) == 0
        assert len(re.findall(r"^merge r=9", capsys.readouterr().out, flags=re.MULTILINE)) == rows


@pytest.mark.parametrize(
    ("words", "field", "value"),
    [
        (["--config.model.num_classes=101"], "num_classes", 101),
        (["--config.model.num_classes", "101"], "num_classes", 101),
        (["--config.model.num_classes=verb:97,noun:300"], "num_classes", {"verb": 97, "noun": 300}),
        (["--config.model.num_classes={'verb': 97, 'noun': 300}"], "num_classes", {"verb": 97, "noun": 300}),
        (["--config.model.num_frames=8"], "num_frames", 8),
        (["--config.model.image_size=224,320"], "image_size", (224, 320)),
        (["--config.model.patch_size=[2, 8, 8]"], "patch_size", (2, 8, 8)),
        (["--config.model.dropout_rate=0.5"], "dropout_rate", 0.5),
        (["--config.model.classifier=gap", "--config.model.name=vivit_b_16x2_fe"], "classifier", "gap"),
        (["--config.model.spatial_only=True", "--config.model.name=vivit_b_16x2_fe"], "spatial_only", True),
        (["--config.model.position_grid=(8,7,7)", "--config.model.name=timesformer_b_8"], "position_grid", (8, 7, 7)),
    ],
)
def test_any_field_of_the_model_is_a_flag(words, field, value):
    from jax_vtm.evaluation import build

    _, config, _ = parse("convert", *words, "--config.reduction.r=1")
    found = getattr(build.model(config, build.reduction(config)), field)
    assert (dict(found) if isinstance(value, dict) else found) == value


def test_a_field_of_a_config_file_is_changed_whatever_its_type_was(tmp_path):
    from jax_vtm.evaluation import build
    from jax_vtm.merging import no_reduction

    path = tmp_path / "two.py"
    path.write_text(
        "from jax_vtm.config import default_config\n"
        "def get_config():\n"
        "    config = default_config('two')\n"
        "    config.model.update({'name': 'videomae_b_16', 'num_classes': {'verb': 97, 'noun': 300}})\n"
        "    return config\n"
    )
    for flag, heads in (("101", (("", 101),)), ("b:2,a:1", (("a", 1), ("b", 2)))):
        _, config, _ = parse(f"--config={path}", f"--config.model.num_classes={flag}")
        assert build.model(config, no_reduction()).heads == heads


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--config.model.num_clases=101"], "no field 'num_clases'. Did you mean 'num_classes'.*Its fields are num_cl"),
        (["--config.model.num_classes=many"], "num_classes is 'many'; expected a whole number of at least 1 or heads"),
        (["--config.model.num_classes=0"], "num_classes is 0; expected a whole number of at least 1"),
        (["--config.model.num_classes="], "num_classes is ''; expected"),
        (["--config.model.num_classes=True"], "num_classes is True; expected"),
        (["--config.model.num_classes=verb:0"], "num_classes is .*; expected"),
        (["--config.model.num_frames=8.5"], "num_frames is 8.5; expected a whole number"),
        (["--config.model.patch_size=2,8"], r"patch_size is \(2, 8\); expected 3 whole numbers"),
        (["--config.model.classifier=mean"], "classifier is 'mean'; expected 'token', 'gap', 'gmp', 'gsp'"),
        (["--config.model.hidden_size=65"], "hidden_size is 65; expected a multiple of num_heads, which is 2"),
        (["--config.model.num_frames=1"], "clips of 1 frames .* do not hold one patch"),
        (["--config.model.dropout_rate=2"], "dropout_rate is 2; expected a share from 0 to less than 1"),
        (["--config.model.num_classes=101", "--config.model.name=vivi"], "model 'vivi' is not known"),
        (["--config.model.num_classes=101", "--config=configs/paper_grid.py"], "has no model of its own"),
    ],
)
def test_what_the_model_does_not_take_is_refused_before_anything_is_read(words, message, tmp_path, capsys):
    assert cli.run(["main.py", "convert", f"--workdir={tmp_path}", *words], DEFAULT) == exit_codes.MISTAKE
    assert re.search(message, capsys.readouterr().err)
    assert not list(tmp_path.iterdir())


def test_a_config_that_is_no_python_is_named(tmp_path):
    path = tmp_path / "broken.py"
    path.write_text("def get_config(:")
    with pytest.raises(
        UserError, match=r"(?s)broken.py: the config cannot be read: line 1 is not Python .*put a # in front"
    ):
        parse(f"--config={path}")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_builds_its_model_and_begins_with_its_command(path):
    from jax_vtm.evaluation import build

    config = load_config(path)
    assert config.name == path.stem
    assert "python main.py" in path.read_text().split('"""')[1]
    model = build.model(config, build.reduction(config))
    assert model.tokens_per_layer[-1] < model.tokens_per_layer[0]
    assert build.protocol(config, model).crop == model.input_shape[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--config.model.attention=cudnn"], "attention is 'cudnn', which needs an NVIDIA GPU.*Use 'auto'"),
        (["--config.model.attention=flash"], "attention is 'flash'; known are auto, xla, chunked, cudnn, tpu_flash"),
        (["--config.model.matching=pallas"], "matching is 'pallas', which needs a GPU or a TPU"),
        (["--config.model.merging=fast"], "merging is 'fast'; known are auto, scatter"),
        (["--config.model.dtype=half"], "dtype is 'half'; known are float32, bfloat16"),
    ],
)
def test_what_cannot_be_computed_here_is_refused_before_anything_is_read(words, message, tmp_path, capsys):
    words = [*words, f"--workdir={tmp_path / 'out'}", "--config.compilation_cache="]
    assert cli.run(["main.py", *words], DEFAULT) == exit_codes.MISTAKE
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "new"),
    [
        (["ladder"], "the command ladder is now parity."),
        (["--config.reduction.r_per_layer=(2,)"], "the key config.reduction.r_per_layer is now config.reduction.r."),
        (["splice"], "the command splice is now study --config.study.what=splices."),
        (["study", "--config.splice.head=verb"], "the key config.splice.head is now config.study.head."),
        (["benchmark_data"], "the command benchmark_data is now benchmark --config.benchmark.what=data."),
        (["parity", "--config.ladder.clips=2"], "the key config.ladder.clips is now config.parity.clips."),
    ],
)
def test_old_names_answer_with_the_new_ones(words, new, capsys):
    assert cli.run(["main.py", *words], DEFAULT) == exit_codes.MISTAKE
    said = capsys.readouterr().err
    assert said == f"error: {new}\n"
