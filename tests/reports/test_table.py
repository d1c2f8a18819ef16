import csv
import io

import pytest
from report_examples import single, sweep, two_heads, unlabelled

from jax_vtm import reports
from jax_vtm.errors import shown
from jax_vtm.reports import Column, Interval, Table

TABLE = Table(
    "videos",
    [
        Column("name", "video"),
        Column("share", "share", "%", lambda share: f"{100 * share:.1f}"),
        Column("note", "note"),
    ],
    [
        {"name": "a | b\n[bold]c", "share": Interval(0.5, 0.25, 0.75), "note": "long " * 40},
        {"name": "動画", "share": None, "note": ["x", 2]},
    ],
)


def test_a_terminal_has_the_intervals_below_the_values_and_nothing_is_lost():
    results = two_heads()
    results["runs"][1]["metrics"]["noun/top1"] = {}
    assert reports.runs_table(results).text().splitlines() == [
        "               verb top-1    noun top-1  action top-1       change  agreement",
        "run                   (%)           (%)           (%)     (points)        (%)",
        "─────────────────────────────────────────────────────────────────────────────",
        "unmerged             99.7          99.5          99.4            \N{EN DASH}          \N{EN DASH}",
        "             [99.4, 99.8]  [99.2, 99.7]  [99.0, 99.6]",
        "merge r=110          99.3             \N{EN DASH}          99.0         \N{MINUS SIGN}0.4       99.1",
        "             [99.0, 99.6]                [98.6, 99.3]  [\N{MINUS SIGN}0.8, 0.0]",
        "",
        "                      speed-up",
        "run          clips/s       (\N{MULTIPLICATION SIGN})   GMACs  ratio  tokens per layer",
        "───────────────────────────────────────────────────────────────────",
        "unmerged         140      1.00   0.157   1.00  513",
        "merge r=110      269      1.92  0.0769   0.49  513 403 293 183 → 73",
    ]


@pytest.mark.parametrize("table", [TABLE, *(reports.runs_table(make()) for make in (sweep, unlabelled, single))])
@pytest.mark.parametrize("width", [80, 40])
def test_no_line_is_wider_than_the_terminal(table, width):
    from rich.cells import cell_len

    text = table.text(width)
    assert max(map(cell_len, text.splitlines())) <= width
    assert "\x1b" not in text
    # Every cell is there, in some line or over several.
    letters = "".join(text.split())
    for row in table.rows:
        for column in table.columns:
            assert all("".join(word.split()) in letters or len(word) > 30 for word in column.lines(row)[0].split())


def test_names_are_data_in_every_form():
    first, second = TABLE.rows[0], TABLE.rows[1]
    rows = list(csv.reader(io.StringIO(TABLE.csv())))
    assert rows[0] == ["name", "share", "share_low", "share_high", "note"]
    assert rows[1] == [shown(first["name"]), "0.5", "0.25", "0.75", first["note"]]
    assert rows[2] == [second["name"], "", "", "", '["x", 2]']
    assert "[bold]" in TABLE.text()


def test_every_part_of_a_wide_table_names_its_rows():
    """By the first column where that suffices, else by as many as tell the rows apart."""
    more = [Column(f"c{number}", f"column {number}", "", str) for number in range(12)]
    values = {column.key: 10_000_000 for column in more}
    rows = [{"run": run, "metric": metric} | values for run in "ab" for metric in ("top1", "top5")]
    table = Table("t", [Column("run", "run"), Column("metric", "metric"), *more], rows)
    assert len(table.blocks(80)) > 1
    assert all([column.key for column in block[:2]] == ["run", "metric"] for block in table.blocks(80))
    once = Table("t", table.columns, rows[::2])
    assert [block[0].key for block in once.blocks(80)] == ["run"] * len(once.blocks(80))
    assert sum(column.key == "metric" for block in once.blocks(80) for column in block) == 1
