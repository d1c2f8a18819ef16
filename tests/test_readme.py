"""What the README says of configs, presets and files is what these say themselves."""

import pathlib
import re

import pytest

from jax_vtm.commands.table import COMMANDS
from jax_vtm.config import flattened, load_config
from jax_vtm.models.presets import PRESETS

ROOT = pathlib.Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
README = PAGES[0].read_text()
# The others have a model and a data set whose accuracy is published.
WITHOUT_PUBLISHED = (
    "moving_digits",
    "paper_grid",
    "torch_parity",
    "layer_duplication",
    "clip_splicing",
    *(path.stem for path in (ROOT / "configs").glob("benchmark*.py")),
)
CONFIGS = {path.stem: path for path in (ROOT / "configs").glob("*.py") if path.stem not in WITHOUT_PUBLISHED}
ROWS = {match[1]: match[0] for match in re.finditer(r"^\| `(\w+)` \|.*$", README, re.MULTILINE)}


def numbers(text):
    """Accuracies: numbers with digits after the point."""
    return re.findall(r"\b\d\d\.\d+\b", text)


@pytest.mark.parametrize("name", CONFIGS)
def test_published_accuracies_are_those_of_the_config(name):
    doc = CONFIGS[name].read_text().split('"""')[1]
    *_, authors, paper, _ = ROWS[name].split("|")
    views = re.findall(r"\d+x\d+", authors)
    assert numbers(authors) + numbers(paper) == [number for number in numbers(doc) if number != "56.5"]  # nouns alone
    assert len(views) == len(numbers(authors)) <= 1
    assert all(f"with {view} views" in doc for view in views)


@pytest.mark.parametrize("name", [name for name, preset in PRESETS.items() if "top-1" in preset.source])
def test_published_accuracies_are_those_of_the_preset(name):
    assert set(numbers(PRESETS[name].source)) <= set(numbers(ROWS[name]))


@pytest.mark.parametrize("name", [name for name in CONFIGS if "standard" in CONFIGS[name].read_text()])
def test_published_accuracies_of_presets_and_configs_are_the_same(name):
    authors = ROWS[name].split("|")[3]
    assert set(numbers(authors)) <= set(numbers(ROWS[load_config(CONFIGS[name]).model.name]))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_commands_and_keys_exist(page):
    text = page.read_text()
    for path in re.findall(r"\]\(((?!http)[^)#]*)[^)]*\)|`(jax_vtm/[\w/.]+)`", text):
        path = "".join(path)
        base = ROOT if path.startswith("jax_vtm/") else page.parent
        assert not path or (base / path).exists(), path
    for config in re.findall(r"--config[= ]([a-z][\w/.]*)", text):
        path = ROOT / config if "/" in config else ROOT / "configs" / f"{config}.py"
        assert path.is_file(), config
    for command in re.findall(r"(?:main\.py|jax-vtm) ([a-z]\w*)", text):
        assert command in COMMANDS
    known = {key for key, _ in flattened(load_config(ROOT / "configs" / "moving_digits.py"))}
    # Every field of a model is a flag.
    known |= {f"model.{field}" for field in PRESETS["vivit_b_16x2"].build.__dataclass_fields__}
    for key in re.findall(r"--config\.([\w.]+)|`((?:data|reduction|model)\.\w+)`", text):
        assert "".join(key).rstrip(".") in known, key


def test_links_to_sections_lead_somewhere():
    for page in PAGES:
        for target, anchor in re.findall(r"\]\(((?!http)[^)#]*)#([^)]+)\)", page.read_text()):
            titles = re.findall(r"^#+ (.+)$", (page.parent / target if target else page).read_text(), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles]
