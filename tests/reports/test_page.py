import base64
import html.parser
import importlib.resources
import re

import numpy as np
import pytest
from report_examples import confusions, single, sweep, two_heads, unlabelled, with_speed

from jax_vtm import reports

VOID = {"meta", "img", "link", "br", "path", "circle", "rect"}
HOSTILE = "<script>alert('\"&</script>"
PICTURE = reports.Picture.from_array("groups", "what merged", np.zeros((4, 6, 3), np.uint8))


class Page(html.parser.HTMLParser):
    """Collects what a test asks about and checks that every tag is closed in order."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open:
            self.text.setdefault(self._open[-1], []).append(data)

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def render(results, pictures=()) -> Page:
    return Page(reports.render_report(results, pictures))


@pytest.mark.parametrize(
    "results",
    [
        two_heads(),
        sweep(),
        unlabelled(),
        single(),
        with_speed(0.8),
        two_heads() | {"runs": [], "comparison": []},
    ],
    ids=["two heads", "sweep", "unlabelled", "single", "slower", "none"],
)
def test_page_is_well_formed_and_opens_with_the_answer(results):
    page = render(results, [PICTURE])
    heading = "".join(page.text["h1"]).replace("\u00a0", " ")
    assert heading == reports.headline(results)
    assert next(name for name, _ in page.tags if name in ("h1", "h2", "h3")) == "h1"


def test_page_loads_nothing():
    text = reports.render_report(two_heads(), [PICTURE])
    assert not re.search(r"https?://|@import|url\(", text)
    page = Page(text)
    assert not page.of("link")
    assert all("src" not in attributes for attributes in page.of("script"))
    assert all((attributes["src"] or "").startswith("data:image/png;base64,") for attributes in page.of("img"))


def sorted_by(page: Page) -> list[float]:
    return [float(attributes["data-sort"] or "nan") for attributes in page.of("td")]


def test_numbers_are_the_ones_given():
    results = two_heads()
    page = render(results)
    cells = sorted_by(page)
    for run in results["runs"]:
        timing = results["measured"]["runs"][run["name"]]
        expected = [run["metrics"][key]["value"] for key in ("verb/top1", "noun/top1", "action/top1")]
        expected += [timing["clips_per_s"], timing["speedup"]]
        expected += [run["macs_per_clip"], run["mac_ratio"], run["tokens_per_layer"][-1]]
        assert cells[: len(expected)] == expected
        cells = cells[len(expected) :]
    for run in results["runs"]:
        others = ("verb/top5", "noun/top5", "action/top5_each", "action/top5_joint")
        expected = [run["metrics"][key]["value"] for key in others]
        expected += [run["class_means"][head]["accuracy"] for head in ("verb", "noun")]
        assert cells[: len(expected)] == expected
        cells = cells[len(expected) :]
    assert "action top-1" in page.text["th"]
    assert results["model"]["checkpoint_sha256"] in page.text["code"]
    assert "2850 of 2880" in [attributes.get("title") for attributes in page.of("td")]


def test_both_top_5_of_actions_are_shown_by_name_and_told_apart():
    text = reports.render_report(two_heads())
    notes = dict(re.findall("<dt>(.*?)</dt><dd>(.*?)</dd>", text))
    assert {"action top-5, each head", "action top-5, joint"} <= set(Page(text).text["th"])
    assert "PyTorch reference" in notes["action top-5, each head"]
    assert "Scenic" in notes["action top-5, joint"]


def test_a_single_head_has_its_top_5_beside_its_top_1():
    results = sweep()
    cells = sorted_by(render(results))
    assert cells[:2] == [results["runs"][0]["metrics"][key]["value"] for key in ("top1", "top5")]


def test_means_over_classes_say_how_many_classes_they_leave_out():
    results = two_heads()
    results["runs"][0]["class_means"]["noun"] |= {"classes": 7, "classes_without_videos": 3}
    page = render(results)
    assert "7 classes, 3 without videos left out" in page.text["small"]
    assert "8 classes" in page.text["small"]


def test_plots_tell_their_numbers_to_a_screen_reader():
    page = render(two_heads())
    assert all(attributes["role"] == "img" and attributes["aria-label"] for attributes in page.of("svg"))
    said = page.text["desc"]
    assert "unmerged: 99.4 % (95 % interval 99.0 to 99.6); merge r=110: 99.0 % (95 % interval 98.6 to 99.3)" in said
    assert "merge r=110: arithmetic 49 %, time 52 %" in said
    assert "unmerged: 513, 513, 513, 513, 513; merge r=110: 513, 403, 293, 183, 73" in said


@pytest.mark.parametrize(("results", "count"), [(two_heads(), 5), (sweep(), 5), (unlabelled(), 2), (single(), 4)])
def test_only_plots_with_something_to_say(results, count):
    assert len(render(results).of("svg")) == count


def test_everything_from_outside_is_escaped():
    results = two_heads()
    results["name"] = HOSTILE
    results["dataset"] |= {"name": HOSTILE, "description": HOSTILE}
    results["protocol"]["description"] = HOSTILE
    results["model"] |= {
        "name": HOSTILE,
        "checkpoint": HOSTILE,
        "checkpoint_sha256": HOSTILE,
        "heads": {HOSTILE: 2},
    }
    results["measured"]["created"] = HOSTILE
    results["failures"] = [{"id": HOSTILE, "reason": HOSTILE}]
    results["environment"] = {HOSTILE: HOSTILE, "device_kind": HOSTILE}
    run = results["runs"][1]
    run["name"] = results["comparison"][0]["run"] = HOSTILE
    results["measured"]["runs"][HOSTILE] = results["measured"]["runs"].pop("merge r=110")
    results["protocol"]["view_average"] = HOSTILE
    run["metrics"][HOSTILE] = run["metrics"]["verb/top1"]
    for run in results["runs"]:
        run["metrics"][f"{HOSTILE}/top1"] = run["metrics"]["verb/top1"]
        run["classes"][HOSTILE] = [row | {"name": HOSTILE} for row in run["classes"].pop("verb")]
        run["class_means"][HOSTILE] = run["class_means"].pop("verb")
    run["predictions"] = [{"id": HOSTILE, HOSTILE: HOSTILE}]
    picture = reports.Picture(HOSTILE, HOSTILE, PICTURE.png)
    page = Page(reports.render_report(results, [picture], confusions(results)))
    assert len(page.of("script")) == 1
    assert all(not name.startswith("on") for _, attributes in page.tags for name in attributes)


def test_picture_is_embedded_whole_and_enlarged_by_a_whole_factor():
    page = render(two_heads(), [PICTURE])
    (image,) = page.of("img")
    assert base64.b64decode((image["src"] or "").partition(",")[2]) == PICTURE.png
    assert (image["width"], image["height"], image["style"]) == ("6", "4", "width:720px")
    assert image["alt"] == "groups"
    assert "what merged" in page.text["figcaption"]


def test_failures_are_said_at_the_top():
    results = two_heads()
    results["dataset"] |= {"n_failed": 12, "n_ok": 2868}
    assert "12 of 2880 videos could not be read." in reports.render_report(results).partition("<main>")[0]
    assert "could not be read" not in reports.render_report(two_heads())


@pytest.mark.parametrize("listed", [2, 6])
def test_failed_videos_are_named_with_their_reasons(listed):
    results = two_heads()
    results["dataset"] |= {"n_failed": 12, "n_ok": 2868}
    results["failures"] = [{"id": f"{i}.mp4", "reason": f"holds {i} bytes"} for i in range(listed)]
    page = render(results)
    assert "0.mp4" in page.text["th"]
    assert "holds 0 bytes" in page.text["td"]
    assert f"{12 - listed} more are in " in page.text["p"]
    assert "failures.csv" in page.text["code"]
    # A long list shows when it is asked for.
    assert (f"The first {listed} of them" in page.text["summary"]) == (listed == 6)


def test_videos_without_a_prediction_are_said_at_the_top():
    results = two_heads()
    results["runs"][1]["n_without_prediction"] = 3
    said = "Videos whose output is not a number, which count as wrong: merge r=110 3."
    assert said in reports.render_report(results).partition("<main>")[0]
    assert said in " ".join(reports.format_results(results).split())


def test_protocol_says_how_views_are_combined():
    results = two_heads()
    assert "Views" not in render(results).text["dt"], "there is a single one"
    for how, words in (("logits", "mean of its views' logits"), ("max", "maximum of its views' logits")):
        results["protocol"] |= {"num_clips": 4, "view_average": how}
        assert any(words in text for text in render(results).text["dd"])


def test_the_share_of_time_without_data_is_said_where_it_was_measured():
    results = two_heads()
    assert "waited for data" not in reports.render_report(results)
    results["measured"]["device_wait_share"] = 0.125
    assert "The devices waited for data 12.5\u00a0% of the time." in reports.render_report(results)


def test_values_that_were_not_measured_are_dashes_and_not_drawn():
    results = two_heads()
    results["comparison"] = []
    for run in results["runs"]:
        results["measured"]["runs"][run["name"]] = {"clips_per_s": float("nan"), "speedup": float("nan")}
        run["mac_ratio"] = float("nan")
        for metric in run["metrics"].values():
            metric |= {"value": float("nan"), "low": None, "high": None}
    page = render(results)
    assert len(page.of("svg")) == 1
    words = [word for texts in page.text.values() for word in texts]
    assert not [word for word in words if re.search(r"\bnan\b", word)]
    assert not re.search(r"\bnan\b", reports.format_results(results))


def test_predictions_are_shown_where_there_are_no_labels():
    page = render(unlabelled())
    assert "a.mp4" in page.text["th"]
    assert "merge r=110: noun" in page.text["th"]
    assert "seven" in page.text["td"]


def test_every_comparison_of_a_sweep_is_listed():
    results = sweep()
    results["comparison"] = [
        {"run": run["name"], "baseline": "unmerged", "metric": "top1", "difference": -0.01, "agreement": 0.9}
        for run in results["runs"][1:]
    ]
    assert len(render(results).of("li")) == 4


def luminance(colour: str) -> float:
    channels = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_colours_can_be_told_from_their_ground(scheme):
    css = importlib.resources.files("jax_vtm.reports").joinpath("report.css").read_text(encoding="utf-8")
    colours = dict(re.findall(r"--([\w-]+): (#\w{6})", css.split(":root")[1 + scheme]))
    for text, ground in (("ink", "paper"), ("soft", "paper"), ("warn-ink", "warn")):
        assert contrast(colours[text], colours[ground]) >= 4.5
    for series in (name for name in colours if re.fullmatch(r"s\d", name)):
        assert contrast(colours[series], colours["paper"]) >= 4.5
