import re

import pytest
from report_examples import single, sweep, two_heads, unlabelled

from jax_vtm import reports


def test_table_of_two_heads():
    assert reports.format_results(two_heads()).splitlines()[:6] == [
        "run          tokens per layer       GMACs  ratio    verb top-1    noun top-1  action top-1  clips/s  speed-up",
        "─" * 109,
        "unmerged     513                    0.157   1.00        99.7 %        99.5 %        99.4 %      140     1.00×",  # noqa: RUF001
        "                                                  [99.4, 99.8]  [99.2, 99.7]  [99.0, 99.6]",
        "merge r=110  513 403 293 183 | 73  0.0769   0.49        99.3 %        99.3 %        99.0 %      269     1.92×",  # noqa: RUF001
        "                                                  [99.0, 99.6]  [98.9, 99.5]  [98.6, 99.3]",
    ]


def test_compiling_is_told_apart():
    text = reports.format_results(two_heads())
    assert "Compiling, apart from all speeds: unmerged 3.10 s, merge r=110 3.10 s." in text
    results = single()
    results.pop("measured")
    assert "Compiling" not in reports.format_results(results)


@pytest.mark.parametrize("make", [two_heads, sweep, unlabelled, single])
def test_no_line_is_wider_than_a_terminal(make):
    assert max(map(len, reports.format_results(make()).splitlines())) <= 120


def test_intervals_stand_beside_the_values_where_they_fit():
    assert "97.1 % [96.1, 97.9]" in reports.format_results(sweep())


def test_tokens_move_below_the_table_where_the_names_are_long():
    results = two_heads()
    for run in results["runs"]:
        run["name"] += " with a name that leaves no room"
    results["comparison"] = []
    text = reports.format_results(results)
    assert max(map(len, text.splitlines())) <= 120
    assert "no room, tokens per layer: 513 403 293 183 | 73" in text


def test_comparison_and_failures_are_said_in_words():
    results = two_heads()
    results["dataset"] |= {"n_failed": 12, "n_ok": 2868}
    text = " ".join(reports.format_results(results).split())
    assert (
        "merge r=110 against unmerged: action accuracy changes by \N{MINUS SIGN}0.4 points "
        "(95 % interval \N{MINUS SIGN}0.8 to 0.0); 99.1 % of predictions agree." in text
    )
    assert "12 of 2880 videos could not be read." in text


def test_missing_values_are_a_dash():
    results = two_heads()
    results["runs"][1] |= {"metrics": {}, "macs_per_clip": None, "mac_ratio": None}
    results["measured"]["runs"]["merge r=110"] = None
    row = next(line for line in reports.format_results(results).splitlines() if line.startswith("merge"))
    assert len(re.findall("\N{EN DASH}", row)) == 7


def test_markdown_table_has_one_cell_per_column():
    results = two_heads()
    results["runs"][1]["name"] = "merge | r=110"
    lines = reports.markdown_table(results).splitlines()
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {10}
    assert lines[1].startswith("| :-- | :-- | --: |")
    assert "513 403 293 183 → 73" in lines[3]
    assert "99.0 % [98.6, 99.3]" in lines[3]
