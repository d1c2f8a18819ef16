import re

import pytest
from comparison_examples import three_runs, two_files, two_runs
from page_reader import HOSTILE
from page_reader import PageReader as Page

from jax_vtm.comparison.page import FLIPS_IN_VIEW, FLIPS_LISTED, render_comparison
from jax_vtm.comparison.text import comparison_headline


def render(comparison) -> Page:
    return Page(render_comparison(comparison.results, comparison.flips))


@pytest.mark.parametrize(
    "comparison",
    [two_runs(), three_runs(), two_files(), two_runs(labelled=False), two_runs(heads=["label"])],
    ids=["two runs", "three runs", "two files", "unlabelled", "one head"],
)
def test_page_is_well_formed_opens_with_the_answer_and_loads_nothing(comparison):
    text = render_comparison(comparison.results, comparison.flips)
    page = Page(text)
    assert "".join(page.text["h1"]).replace("\u00a0", " ") == comparison_headline(comparison.results)
    assert not re.search(r"https?://|@import|url\(", text)
    assert all("src" not in attributes for attributes in page.of("script"))
    assert not page.of("link")


def test_numbers_are_the_ones_given():
    comparison = two_runs()
    (entry,) = comparison.results["comparisons"]
    cells = [attributes["data-sort"] for attributes in render(comparison).of("td")]
    for key, metric in entry["metrics"].items():
        expected = [key.replace("top1", "top-1").replace("/", " "), metric["difference"]]
        expected += [metric["run"]["value"], metric["baseline"]["value"]]
        expected += [metric["only_run"], metric["only_baseline"], metric["mcnemar_p"]]
        assert cells[:7] == [str(value) for value in expected]
        cells = cells[7:]
    for head, found in entry["scores"].items():
        assert cells[:4] == [str(entry["agreement"]), head, str(found["mean"]), str(found["largest"])]
        cells = cells[5:]


def test_every_class_that_changes_is_there_with_its_videos():
    comparison = two_runs(heads=["label"])
    (entry,) = comparison.results["comparisons"]
    text = render_comparison(comparison.results, comparison.flips)
    table = text.partition('aria-label="Largest changes of label, merge r=9"')[2].partition("</table>")[0]
    changed = [
        (run["name"], run["correct"] - baseline["correct"])
        for run, baseline in zip(entry["classes"]["label"]["run"], entry["classes"]["label"]["baseline"], strict=True)
        if run["correct"] != baseline["correct"]
    ]
    assert changed
    assert len(re.findall(r'<tr><th scope="row"', table)) == len(changed)
    for name, gain in changed:
        assert re.search(rf'>{name}</th><td class="number" data-sort="{gain}"', table)


def test_flips_are_listed_with_both_predictions_and_the_lost_first():
    comparison = two_runs()
    page = render_comparison(comparison.results, comparison.flips)
    table = page.partition('aria-label="Videos that flip"')[2].partition("</table>")[0]
    rows = re.findall(r"<tr>(.*?)</tr>", table.partition("<tbody>")[2], re.DOTALL)
    assert len(rows) == len(comparison.flips) > FLIPS_IN_VIEW
    found = [re.findall(r"<t[hd][^>]*>([^<]*)", row) for row in rows]
    kinds = [row[1] for row in found]
    assert kinds == sorted(kinds, key=["lost", "gained", "changed"].index)
    by_id = {flip["id"]: flip for flip in comparison.flips}
    for video, change, *classes in found:
        flip = by_id[video]
        assert change == flip["change"]
        assert classes == [
            flip["heads"][head][key] for head in ("noun", "verb") for key in ("label", "baseline", "run")
        ]
    # So many show when they are asked for.
    assert f"<details><summary>{len(rows)} videos are predicted otherwise" in page


def test_of_very_many_flips_the_page_says_how_many_it_leaves_out():
    comparison = two_runs()
    many = [comparison.flips[0] | {"id": f"{number}"} for number in range(FLIPS_LISTED + 7)]
    page = render_comparison(comparison.results, many)
    assert "<p>7 more are in <code>flips.csv</code>.</p>" in page
    assert "no video is predicted otherwise" in render_comparison(comparison.results, [])


def test_what_is_missing_and_how_videos_are_matched_is_said_at_the_top():
    comparison = two_files()
    comparison.results["notes"].append("Videos are matched by their order.")
    top = render_comparison(comparison.results, comparison.flips).partition("<main>")[0]
    assert "2 only in ours.npz, 2 only in theirs.pkl. Every number is of the other 116." in top
    assert "Videos are matched by their order." in top
    assert "Not all videos" not in render_comparison(two_runs().results, [])


def test_several_comparisons_are_told_apart():
    comparison = three_runs()
    page = render(comparison)
    assert len(page.of("li")) == 2
    summaries = " ".join(page.text["summary"])
    assert "merge r=9 against unmerged: " in summaries
    assert "drop r=9 against unmerged: " in summaries
    (drawing,) = page.of("svg")
    assert drawing["aria-label"] == "Action top-1 of every run"


def test_everything_from_outside_is_escaped():
    comparison = two_runs(names=HOSTILE)
    results = comparison.results
    results["name"] = results["ours"]["path"] = results["ours"]["kind"] = HOSTILE
    results["notes"].append(HOSTILE)
    (entry,) = results["comparisons"]
    entry["run"] = entry["baseline"] = HOSTILE
    entry["scores"]["noun"]["video"] = HOSTILE
    entry["scores"]["verb"] = {"kind": None, "reason": HOSTILE}
    entry["metrics"][HOSTILE] = entry["metrics"]["action/top1"]
    entry["classes"][HOSTILE] = entry["classes"]["noun"]
    flips = [{**flip, "run": HOSTILE, "baseline": HOSTILE, "id": HOSTILE} for flip in comparison.flips]
    page = Page(render_comparison(results, flips))
    assert len(page.of("script")) == 1
    assert all(not name.startswith("on") for _, attributes in page.tags for name in attributes)
