import base64
import dataclasses
import re
import urllib.parse

import numpy as np
import pytest
from page_reader import HOSTILE, PageReader
from report_examples import confusions, single, sweep, two_heads, unlabelled, with_speed
from report_examples import run as run_of

from jax_vtm import reports
from jax_vtm.commands.evaluation_page import evaluation_page
from jax_vtm.evaluation import class_counts, confusion_matrix
from jax_vtm.reports import Interval, plots
from jax_vtm.reports.figure import PALETTE

PICTURE = reports.Picture.from_array("groups", "what merged", np.zeros((4, 6, 3), np.uint8))
RUNS = "Results of every run"


def read(results, pictures=(), matrices=None) -> PageReader:
    return PageReader(evaluation_page(results, pictures, matrices).html)


@pytest.mark.parametrize(
    ("results", "figures"),
    [
        (two_heads(), 3),
        (sweep(), 3),
        (unlabelled(), 2),
        (single(), 2),
        (with_speed(0.8), 3),
    ],
    ids=["two heads", "sweep", "unlabelled", "single", "slower"],
)
def test_page_is_well_formed_opens_with_the_answer_and_loads_nothing(results, figures):
    html = evaluation_page(results, [PICTURE]).html
    page = PageReader(html)
    headline = reports.headline(results)
    assert "".join(page.text["h1"]).replace("\u00a0", " ") == headline
    assert len(headline) <= 160, "two lines of a page 1280 pixels wide"
    assert len(page.of("svg")) == figures
    assert all(attributes["role"] == "img" and attributes["aria-label"] for attributes in page.of("svg"))
    assert not page.of("link")
    assert not re.search(r"https?://|@import|url\(", html)
    assert all("src" not in attributes for attributes in page.of("script"))
    sources = [a[key] for _, a in page.tags for key in ("src", "href") if key in a]
    assert all(source.startswith(("data:image/png;base64,", "#")) for source in sources)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert "Layers are counted from 0." in "".join(page.text["footer"])


def test_numbers_are_the_ones_given():
    results = two_heads()
    head, unmerged, merged = read(results).tables[RUNS]
    assert head[:4] == ["run", "verb top-1 (%)", "noun top-1 (%)", "action top-1 (%)"]
    assert unmerged[:4] == ["unmerged", "99.7 [99.4, 99.8]", "99.5 [99.2, 99.7]", "99.4 [99.0, 99.6]"]
    assert merged[4:] == [
        "\N{MINUS SIGN}0.4 [\N{MINUS SIGN}0.8, 0.0]",
        *("99.1", "269", "1.92", "0.0769", "0.49", "513 403 293 183 → 73"),
    ]
    more = read(results).tables["More accuracies of every run"]
    assert more[0][1:5] == [
        "verb top-5 (%)",
        "noun top-5 (%)",
        "action top-5, each head (%)",
        "action top-5, joint (%)",
    ]
    assert more[2][4] == f"{100 * results['runs'][1]['metrics']['action/top5_joint']['value']:.1f} [99.5, 99.9]"
    assert more[2][5] == f"{100 * results['runs'][1]['class_means']['verb']['accuracy']:.1f}"
    notes = dict(zip(read(results).text["dt"], read(results).text["dd"], strict=True))
    assert "PyTorch reference" in notes["action top-5, each head"]
    assert "Scenic" in notes["action top-5, joint"]


def test_a_single_head_has_its_top_5_next_to_its_top_1():
    assert read(sweep()).tables[RUNS][1][:3] == ["unmerged", "92.1 [91.0, 93.1]", "97.1 [96.1, 97.9]"]


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (-0.008, 0.0002, ""),
        (-0.008, 0.0, ""),
        (0.0, 0.004, ""),
        (-0.008, -0.001, "; action accuracy falls by 0.4 points"),
        (None, None, ""),
    ],
)
def test_a_headline_says_nothing_of_a_change_whose_sign_is_not_known(low, high, said):
    results = two_heads()
    results["comparison"][0] |= {"low": low, "high": high}
    assert reports.headline(results) == (
        f"Merging (r = 110) runs 1.92\N{MULTIPLICATION SIGN} as fast and needs 49 % of the arithmetic{said}."
    )


def test_of_many_runs_the_headline_names_one_that_surely_keeps_the_accuracy():
    results = sweep()
    compared = [(98, -0.002, -0.004), (150, -0.008, -0.009), (196, -0.009, -0.02), (392, -0.15, -0.17)]
    results["comparison"] = [
        {"run": f"merge r={r}", "baseline": "unmerged", "metric": "top1", "difference": d, "low": low, "high": 0.1}
        for r, d, low in compared
    ]
    assert reports.headline(results).startswith(
        "Of 4 reduced runs, merge r=150 is the fastest that keeps accuracy within 1 point: 1.45"
    )
    for entry in results["comparison"]:
        entry["low"] = -0.02
    assert reports.headline(results) == "Of 4 reduced runs, none surely keeps accuracy within 1 point of unmerged."


def test_everything_from_outside_is_escaped():
    results = two_heads()
    results["name"] = HOSTILE
    results["dataset"] |= {"name": HOSTILE, "description": HOSTILE}
    results["protocol"] |= {"description": HOSTILE, "view_average": HOSTILE, "num_clips": 2}
    results["model"] |= {"name": HOSTILE, "checkpoint": HOSTILE, "checkpoint_sha256": HOSTILE, "heads": {HOSTILE: 2}}
    results["measured"]["created"] = HOSTILE
    results["failures"] = [{"id": HOSTILE, "reason": HOSTILE}]
    results["environment"] |= {HOSTILE: HOSTILE, "device_kind": HOSTILE}
    run = results["runs"][1]
    run["name"] = results["comparison"][0]["run"] = HOSTILE
    results["measured"]["runs"][HOSTILE] = results["measured"]["runs"].pop("merge r=110")
    for run in results["runs"]:
        run["metrics"][f"{HOSTILE}/top1"] = run["metrics"]["verb/top1"]
        run["classes"][HOSTILE] = [row | {"name": HOSTILE} for row in run["classes"].pop("verb")]
        run["class_means"][HOSTILE] = run["class_means"].pop("verb")
    run["predictions"] = [{"id": HOSTILE, HOSTILE: HOSTILE}]
    made = evaluation_page(results, [reports.Picture(HOSTILE, HOSTILE, PICTURE.png)], confusions(results))
    page = PageReader(made.html)
    assert len(page.of("script")) == 1
    assert all(not name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert HOSTILE in page.tables["Predictions"][1][0]
    # In a figure, too, a dollar is a dollar and no formula.
    assert any("$x_1$" in text for text in page.text["text"])


def test_any_name_can_be_drawn_and_printed(tmp_path):
    results = two_heads()
    names = ["_hidden", "a\udc80b", "\x1b[31m", "$\\frac$", "x" * 300, "\u202etxt"]
    _, merged = results["runs"]
    results["runs"] += [merged | {"name": name} for name in names]
    results["measured"]["runs"] |= dict.fromkeys(names, results["measured"]["runs"]["merge r=110"])
    page = evaluation_page(results)
    page.write(tmp_path)
    text = reports.runs_table(results).text()
    assert text.replace("\n", "").isprintable()
    assert max(map(len, text.splitlines())) <= 80
    # Accuracy, what it costs, and tokens: a legend may not leave out what begins with an underscore.
    assert sum("_hidden" in text for text in PageReader(page.html).text["text"]) >= 3


def test_pages_of_a_workdir_link_to_each_other_and_have_their_figures_as_files(tmp_path):
    page = evaluation_page(single())
    page.write(tmp_path)
    assert not PageReader((tmp_path / "report.html").read_text()).of("a")
    files = {path.name: path.read_bytes() for path in (tmp_path / "figures").iterdir()}
    assert sorted(files) == [f"{name}.{kind}" for name in ("accuracy", "tokens") for kind in ("pdf", "png")]
    assert b"/Type /Font" in files["accuracy.pdf"], "text stays text"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "report.html").write_text("<p>no page of ours</p>")
    for folder in ("a b&c", "sweep"):
        dataclasses.replace(page, figures=()).write(tmp_path, folder)
    for place in (tmp_path, tmp_path / "a b&c", tmp_path / "sweep"):
        links = [link["href"] for link in PageReader((place / "report.html").read_text()).of("a")]
        assert len(links) == 2
        for link in links:
            assert (place / urllib.parse.unquote(link)).is_file()
    assert (tmp_path / "other" / "report.html").read_text() == "<p>no page of ours</p>"
    # The same results, the same bytes.
    again = evaluation_page(single())
    assert again.html == page.html
    # Figures of an earlier run are of other numbers.
    (tmp_path / "figures" / "earlier.pdf").write_bytes(b"")
    again.write(tmp_path)
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "figures").iterdir()}


def test_picture_is_embedded_whole_and_enlarged_by_a_whole_factor():
    (image,) = read(two_heads(), [PICTURE]).of("img")
    assert base64.b64decode((image["src"] or "").partition(",")[2]) == PICTURE.png
    assert (image["width"], image["height"], image["style"]) == ("6", "4", "width:720px")
    assert image["alt"] == "groups"


@pytest.mark.parametrize("listed", [2, 6])
def test_failed_videos_are_said_at_the_top_and_named_with_their_reasons(listed):
    results = two_heads()
    results["dataset"] |= {"n_failed": 12, "n_ok": 2868}
    results["failures"] = [{"id": f"{i}.mp4", "reason": f"holds {i} bytes"} for i in range(listed)]
    html = evaluation_page(results).html
    assert "12 of 2\N{NARROW NO-BREAK SPACE}880 videos could not be read." in html.partition("<main>")[0]
    page = PageReader(html)
    assert page.tables["Videos that could not be read"][1] == ["0.mp4", "holds 0 bytes"]
    assert f"{12 - listed} more are in failures.csv." in page.text["p"]
    assert "could not be read" not in evaluation_page(two_heads()).html


def test_videos_without_a_prediction_are_said_at_the_top(capsys):
    results = two_heads()
    results["runs"][1]["n_without_prediction"] = 3
    said = "Videos whose output is not a number, which count as wrong: merge r=110 3."
    assert said in evaluation_page(results).html.partition("<main>")[0]
    reports.print_runs(results)
    assert said in " ".join(capsys.readouterr().out.split())


def test_values_that_were_not_measured_are_dashes_and_not_drawn():
    results = two_heads()
    results["comparison"] = []
    for run in results["runs"]:
        results["measured"]["runs"][run["name"]] = {"clips_per_s": float("nan"), "speedup": float("nan")}
        run["mac_ratio"] = float("nan")
        for metric in run["metrics"].values():
            metric |= {"value": float("nan"), "low": None, "high": None}
    page = read(results)
    assert len(page.of("svg")) == 1
    assert not [word for words in page.text.values() for word in words if re.search(r"\bnan\b", word)]
    assert not re.search(r"\bnan\b", reports.runs_table(results).text())


def test_predictions_are_shown_where_there_are_no_labels():
    table = read(unlabelled()).tables["Predictions"]
    assert table[0] == ["video", "unmerged: verb", "unmerged: noun", "merge r=110: verb", "merge r=110: noun"]
    assert table[1] == ["a.mp4", "turn", "seven", "turn", "seven"]


# Classes


def many_classes(*, runs: int = 2) -> tuple[dict, dict]:
    """Thirty classes of ten videos; run k takes the first k of class c for the next one, for c below 24."""
    labels = np.repeat(np.arange(30), 10)
    results, matrices = two_heads() | {"runs": [], "comparison": []}, {}
    for index in range(runs):
        predicted = labels.copy()
        predicted[(np.arange(300) % 10 < index) & (labels < 24)] += 1
        name = f"merge r={index}" if index else "unmerged"
        counts = {"label": class_counts(predicted, labels, 30)}
        results["runs"].append(
            run_of(name, {"mode": "merge" if index else "none", "r": index}, [9, 9], 157_000_000, classes=counts)
        )
        matrices[name] = {"label": confusion_matrix(predicted, labels, 30)}
    return results, matrices


def test_changes_are_those_of_the_counts_and_the_largest_come_first():
    results = two_heads()
    before, after = (run["classes"]["noun"] for run in results["runs"])
    pairs = zip(before, after, strict=True)
    expected = {a["name"]: b["correct"] - a["correct"] for a, b in pairs if a["correct"] != b["correct"]}
    page = read(results)
    rows = page.tables["Largest changes of noun, merge r=110"][1:]
    changes = [int(row[1].replace("\N{MINUS SIGN}", "-")) for row in rows]
    assert dict(zip((row[0] for row in rows), changes, strict=True)) == expected
    losses, gains = [c for c in changes if c < 0], [c for c in changes if c > 0]
    assert losses
    assert changes == sorted(losses) + sorted(gains, reverse=True)
    assert f"merge r=110: fewer correct videos in {len(losses)} of 10 classes, more in {len(gains)}." in page.text["p"]


def test_of_many_classes_ten_changes_each_way_and_the_most_frequent_mistakes_are_shown():
    results, matrices = many_classes()
    page = read(results, (), matrices)
    assert len(page.tables["Largest changes of label, merge r=1"]) == 11
    said = "merge r=1: fewer correct videos in 24 of 30 classes, more in 0; 14 smaller changes are left out."
    assert said in page.text["p"]
    assert page.tables["Most frequent mistakes of label"][1:] == [[str(c), str(c + 1), "0", "1"] for c in range(10)]
    results, matrices = many_classes(runs=1)
    assert "Most frequent mistakes" not in read(results, (), matrices).text["summary"]


def test_every_class_is_listed_and_few_are_drawn():
    results = two_heads()
    page = read(results, (), confusions(results))
    assert len(page.of("svg")) == 3 + 4
    rows = page.tables["Accuracy of every class of verb"][1:]
    for row, *entries in zip(rows, *(run["classes"]["verb"] for run in results["runs"]), strict=True):
        accuracies = [f"{100 * entry['accuracy']:.1f}" for entry in entries]
        assert row == [entries[0]["name"], str(entries[0]["count"]), *accuracies]
    results["runs"][1]["classes"] = results["runs"][0]["classes"]
    assert read(results).text["p"].count("merge r=110: the same number of correct videos in every class.") == 2


# Figures


def test_a_mark_that_lies_on_others_is_a_ring_around_them():
    values = [(1.0, 96.9), (1.0, 96.8), (1.4, 95.8), (1.5, 75.8), (1.0, 96.9)]
    series = [plots.Series(str(number), [x], [Interval(y)], number) for number, (x, y) in enumerate(values)]
    figure = plots.scatter("f", "F", series, x_label="x", y_label="y")
    marks = {line.get_gid(): line for line in figure.drawing.axes[0].lines if str(line.get_gid()).startswith("point")}
    drawn = [(marks[f"point-{n}"].get_xdata()[0], marks[f"point-{n}"].get_ydata()[0]) for n in range(len(values))]
    assert drawn == values
    sizes = [marks[f"point-{number}"].get_markersize() for number in range(len(values))]
    assert sizes[0] == sizes[2] == sizes[3] < sizes[1] < sizes[4]


def luminance(colour: str) -> float:
    channels = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_colours_can_be_told_from_their_ground(scheme):
    ground = luminance(PALETTE["paper"][scheme])
    for name in set(PALETTE) - {"paper", "rule"}:
        bright, dark = sorted((luminance(PALETTE[name][scheme]), ground), reverse=True)
        assert (bright + 0.05) / (dark + 0.05) >= 4.5, name
