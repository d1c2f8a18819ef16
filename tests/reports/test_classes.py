import re

import numpy as np
import pytest
from report_examples import confusions, two_heads, unlabelled

from jax_vtm.evaluation import class_counts, confusion_matrix
from jax_vtm.reports.classes import class_section
from jax_vtm.reports.wording import MINUS


def rows_of(content: str, label: str) -> list[list[str]]:
    """The texts of a table's body."""
    table = content.partition(f'aria-label="{label}"')[2].partition("</table>")[0]
    found = []
    for row in re.findall(r"<tr>(.*?)</tr>", table.partition("<tbody>")[2], re.DOTALL):
        found.append(re.findall(r"<t[hd][^>]*>([^<]*)", row))
    return found


def many_classes(*, runs: int = 2) -> tuple[dict, dict]:
    """Thirty classes of ten videos; run k takes the first k of class c for the next one, for c below 24."""
    labels = np.repeat(np.arange(30), 10)
    results, matrices = {"runs": [], "comparison": []}, {}
    for index in range(runs):
        predicted = labels.copy()
        predicted[(np.arange(300) % 10 < index) & (labels < 24)] += 1
        name = f"merge r={index}" if index else "unmerged"
        run = {"name": name, "reduction": {"mode": "merge" if index else "none"}}
        results["runs"].append(run | {"classes": {"label": class_counts(predicted, labels, 30)}})
        matrices[name] = {"label": confusion_matrix(predicted, labels, 30)}
    return results, matrices


def test_changes_are_those_of_the_counts_and_the_largest_come_first():
    results = two_heads()
    content = class_section(results, {})
    before, after = (run["classes"]["noun"] for run in results["runs"])
    expected = {
        one["name"]: other["correct"] - one["correct"]
        for one, other in zip(before, after, strict=True)
        if one["correct"] != other["correct"]
    }
    rows = rows_of(content, "Largest changes of noun, merge r=110")
    assert {row[0]: int(row[1].replace(MINUS, "-")) for row in rows} == expected
    changes = [expected[row[0]] for row in rows]
    losses, gains = [c for c in changes if c < 0], [c for c in changes if c > 0]
    assert changes == sorted(losses) + sorted(gains, reverse=True)
    assert losses
    assert f"fewer videos right in {len(losses)} of 10 classes, more in {len(gains)}." in content


def test_of_many_changes_ten_each_way_are_shown():
    content = class_section(*many_classes())
    assert len(rows_of(content, "Largest changes of label, merge r=1")) == 10
    assert "fewer videos right in 24 of 30 classes, more in 0." in content
    assert "The largest changes; 14 others are left out." in content


def test_every_run_of_many_has_its_changes_when_they_are_asked_for():
    content = class_section(*many_classes(runs=4))
    assert len(re.findall(r"<summary>merge r=\d against unmerged: ", content)) == 3
    assert "<summary>" not in class_section(*many_classes()).partition("Most frequent")[0]


def test_no_change_is_said_in_words():
    results = two_heads()
    results["runs"][1]["classes"] = results["runs"][0]["classes"]
    assert class_section(results, {}).count("as many videos right in every class.") == 2


def test_every_class_is_listed_with_every_runs_accuracy():
    results = two_heads()
    rows = rows_of(class_section(results, {}), "Accuracy of every class of verb")
    for row, *entries in zip(rows, *(run["classes"]["verb"] for run in results["runs"]), strict=True):
        accuracies = [f"{100 * entry['accuracy']:.1f} %" for entry in entries]
        assert row == [entries[0]["name"], str(entries[0]["count"]), *accuracies]


def test_few_classes_are_drawn_and_of_many_the_most_frequent_mistakes_are_listed():
    results = two_heads()
    assert class_section(results, confusions(results)).count("<svg") == 4
    assert "<svg" not in class_section(results, {})

    results, matrices = many_classes(runs=3)
    content = class_section(results, matrices)
    assert "<svg" not in content
    rows = rows_of(content, "Most frequent mistakes of label")
    assert rows == [[str(c), str(c + 1), "0", "1", "2"] for c in range(10)]


def test_many_classes_without_a_mistake():
    results, matrices = many_classes(runs=1)
    assert "No video is taken for another class." in class_section(results, matrices)


@pytest.mark.parametrize("results", [unlabelled(), two_heads() | {"runs": []}])
def test_without_labels_there_is_nothing_to_say(results):
    assert class_section(results, {}) == ""
