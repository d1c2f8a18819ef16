"""Every page in a browser: it asks for nothing, fits its window, can be read, and its viewer shows the arrays."""

import base64
import contextlib
import importlib.util
import pathlib
import shutil

import numpy as np
import pytest
import report_examples
from benchmark_examples import growth, plain, with_pytorch
from comparison_examples import three_runs
from parity_examples import UNEXPLAINED
from scipy import ndimage
from study_examples import layers, splices
from test_sweep_page import experiment

from jax_vtm import cli, reports
from jax_vtm.benchmarks.model_report import REPORT
from jax_vtm.commands.evaluation_page import evaluation_page
from jax_vtm.comparison.page import comparison_page
from jax_vtm.data import moving_digits
from jax_vtm.parity.page import parity_page
from jax_vtm.studies.layers_page import layers_page
from jax_vtm.studies.splices_page import splices_page
from jax_vtm.sweep.page import sweep_page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
MISSING = not CHROMIUM or not importlib.util.find_spec("playwright")
pytestmark = [pytest.mark.browser, pytest.mark.skipif(MISSING, reason="needs the extra [browser] and a chromium")]
LOOK = (pathlib.Path(__file__).parent / "look.js").read_text()
LONG = "a_name_without_any_place_to_break_it_" * 6
PICTURE = reports.Picture.from_array("groups", "what merged", np.zeros((40, 600, 3), np.uint8))
PIXELS = "all => all.map(c => btoa(String.fromCharCode(...c.getContext('2d').getImageData(0, 0, 64, 64).data)))"
PAPER = {"light": "rgb(255, 255, 255)", "dark": "rgb(21, 24, 28)"}


def evaluation(results):
    results["name"] = results["model"]["checkpoint"] = LONG
    results["failures"] = [{"id": f"{LONG}.mp4", "reason": f"{LONG} cannot be read"}]
    return evaluation_page(results, [PICTURE], report_examples.confusions(results))


MADE = {
    "evaluate": lambda: evaluation(report_examples.two_heads()),
    "evaluate without labels": lambda: evaluation(report_examples.unlabelled()),
    "sweep": lambda: sweep_page({"name": "grid", "command": "sweep", "experiments": [experiment(), experiment(LONG)]}),
    "study of layers": lambda: layers_page(layers(), PICTURE),
    "study of splices": lambda: splices_page(splices(), PICTURE),
    "compare": lambda: comparison_page(*three_runs(names=LONG)[:2]),
    "benchmark": lambda: REPORT.page(plain()),
    "benchmark of lengths": lambda: REPORT.page(growth()),
    "benchmark with PyTorch": lambda: REPORT.page(with_pytorch()),
    "parity": lambda: parity_page(UNEXPLAINED),
}
COMMANDS = ("visualize", "predict")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The file of every page; two commands have run, the other pages are of made-up results."""
    folder = tmp_path_factory.mktemp("pages")
    videos = moving_digits.open_test_videos(folder / "videos")
    clip = shutil.copy(folder / "videos" / videos[0].id, folder / f"{LONG[:200]}.mp4")
    (folder / "broken.mp4").write_text("no video")
    words = {"visualize": ["--config.visualize.num_videos=1"], "predict": [str(clip), str(folder / "broken.mp4")]}
    codes = [cli.run(["jax-vtm", name, *words[name], f"--workdir={folder}"]) for name in COMMANDS]
    assert codes == [0, 3]
    for name, make in MADE.items():
        make().write(folder, name)
    return {name: folder / name / "report.html" for name in (*MADE, *COMMANDS)}


@pytest.fixture(scope="module")
def browser(files):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=CHROMIUM)


@contextlib.contextmanager
def opened(browser, file: pathlib.Path, **options):
    """A page; what it asks for and what goes wrong in it fails the test."""
    context = browser.new_context(**options)
    page, asked, faults = context.new_page(), [], []
    page.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(file.as_uri())
    yield page
    context.close()
    assert not faults
    assert [url for url in asked if not url.startswith("data:")] == [file.as_uri()]


@pytest.mark.parametrize("scheme", PAPER)
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", [*MADE, *COMMANDS])
def test_a_page_needs_nothing_fits_its_window_and_can_be_read(name, width, scheme, files, browser):
    with opened(browser, files[name], viewport={"width": width, "height": 800}, color_scheme=scheme) as page:
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == PAPER[scheme]
        assert page.evaluate(LOOK) == []


class Arrays:
    """What the viewer has to show, from the arrays next to its page."""

    def __init__(self, folder: pathlib.Path):
        with np.load(next(folder.glob("*/membership.npz"))) as arrays:
            self.layers, self.frames = arrays["membership"], arrays["frames"]
        self.last, self.grid = len(self.layers) - 1, self.layers.shape[1:]
        self.patch = tuple(np.array(self.frames.shape[:3]) // self.grid)
        groups = self.layers[self.last]
        steps = [len(np.unique(np.argwhere(groups == one)[:, 0])) for one in range(groups.max() + 1)]
        assert max(steps) > 1
        self.far = tuple(np.argwhere(groups == np.argmax(steps))[0].tolist())  # its group reaches the most time steps

    def painted(self, layer: int, lit: int | None) -> np.ndarray:
        """Each time step's first frame: the golden drawing, darker where it is not of the group that is lit."""
        groups = self.layers[layer]
        drawn = reports.draw_groups(self.frames, groups.ravel(), self.grid, self.patch)[:: self.patch[0]].astype(float)
        if lit is not None:
            inside = groups.repeat(self.patch[1], 1).repeat(self.patch[2], 2) == lit
            drawn[~inside] *= 0.35
            drawn[inside & ~ndimage.binary_erosion(inside, ndimage.generate_binary_structure(2, 1)[None])] = 255
        return drawn

    def check(self, page, layer: int, patch: tuple[int, int, int] | None) -> None:
        """The page shows this layer, and the group of this patch and no other is lit, in every time step."""
        lit = None if patch is None else int(self.layers[layer][patch])
        expected = self.painted(layer, lit)
        shown = [[*base64.b64decode(one)] for one in page.locator(".step canvas").evaluate_all(PIXELS)]
        assert np.abs(np.reshape(shown, (*expected.shape[:3], 4))[..., :3] - expected).max() <= 1
        if lit is not None:
            tip, size = page.locator(".tip").inner_text(), np.sum(self.layers[layer] == lit)
            assert tip.startswith(f"One token of {size} patches, " if size > 1 else "One token of 1 patch, ")

    def point(self, canvas, patch: tuple[int, int, int]) -> tuple[float, float]:
        canvas.scroll_into_view_if_needed()
        box, (_, row, column), (_, rows, columns) = canvas.bounding_box(), patch, self.grid
        return box["x"] + (column + 0.5) / columns * box["width"], box["y"] + (row + 0.5) / rows * box["height"]


@contextlib.contextmanager
def viewer(browser, files, **options):
    with opened(browser, files["visualize"], **options) as page:
        page.wait_for_selector(".viewer.ready")
        yield page, Arrays(files["visualize"].parent)


def test_the_viewer_by_pointer(files, browser):
    with viewer(browser, files) as (page, arrays):
        step, row, column = arrays.far
        strip, groups = page.locator(".step canvas").nth(step), page.locator(".view").nth(1)
        page.mouse.move(*arrays.point(strip, arrays.far))
        arrays.check(page, arrays.last, arrays.far)
        page.mouse.move(0, 0)
        arrays.check(page, arrays.last, None)
        # A click on the strip shows its frame and holds the patch's group, also while the slider shows another layer.
        page.mouse.click(*arrays.point(strip, arrays.far))
        page.locator(".layer").click(position={"x": 2, "y": 5})
        arrays.check(page, 0, arrays.far)
        assert page.locator(".frame").input_value() == str(step * arrays.patch[0] + 1)
        # Another click lets go.
        page.mouse.click(*arrays.point(groups, arrays.far))
        arrays.check(page, 0, None)
        other = (step, (row + 1) % arrays.grid[1], column)
        page.mouse.move(*arrays.point(groups, other))
        arrays.check(page, 0, other)
        page.get_by_role("button", name="Play").click()
        page.wait_for_function(f"() => document.querySelector('.frame').value != {step * arrays.patch[0] + 1}")


def test_the_viewer_by_keys(files, browser):
    with viewer(browser, files) as (page, arrays):
        page.locator(".layer").press("ArrowLeft")
        arrays.check(page, arrays.last - 1, None)
        page.locator(".frame").press("Home")
        patch = (0, arrays.grid[1] // 2, arrays.grid[2] // 2)
        for key, move in (("ArrowRight", (0, 0, 1)), ("ArrowUp", (0, -1, 0)), ("ArrowLeft", (0, 0, -1))):
            page.locator(".view").nth(1).press(key)
            patch = tuple(np.add(patch, move))
            arrays.check(page, arrays.last - 1, patch)
        page.keyboard.press("Enter")
        page.locator(".layer").press("End")
        arrays.check(page, arrays.last, patch)
        page.locator(".view").nth(1).press("Escape")
        arrays.check(page, arrays.last, None)


def test_the_viewer_by_touch(files, browser):
    phone = {"width": 390, "height": 844}
    with viewer(browser, files, viewport=phone, has_touch=True, is_mobile=True) as (page, arrays):
        strip = page.locator(".step canvas").nth(arrays.far[0])
        page.touchscreen.tap(*arrays.point(strip, arrays.far))
        arrays.check(page, arrays.last, arrays.far)
        page.locator(".layer").tap(position={"x": 2, "y": 5})
        arrays.check(page, 0, arrays.far)
        page.touchscreen.tap(*arrays.point(strip, arrays.far))
        arrays.check(page, 0, None)
