import re

import pytest
from benchmark_examples import growth, plain, results, row, with_pytorch
from page_reader import PageReader

from jax_vtm.benchmarks.model_report import REPORT
from jax_vtm.reports.formatting import MISSING, TIMES


def read(made) -> PageReader:
    return PageReader(REPORT.page(made).html)


@pytest.mark.parametrize(
    ("make", "figures"),
    [
        (plain, ["speedup-merge"]),
        (with_pytorch, []),
        (growth, ["time", "memory", "merging"]),
        (results, []),
    ],
)
def test_the_page_is_well_formed_loads_nothing_and_has_its_figures(make, figures):
    made = REPORT.page(make())
    page = PageReader(made.html)
    assert next(name for name, _ in page.tags if name in ("h1", "h2", "h3")) == "h1"
    assert not page.of("link")
    assert all("src" not in attributes for attributes in page.of("script"))
    assert "26 November 2026" in made.html
    assert [figure.slug for figure in made.figures] == figures
    assert ("<code>figures/</code>" in made.html) == bool(figures)
    assert len(REPORT.headline(make())) <= 160


def test_the_answer_is_the_fastest_merging_experiment():
    assert REPORT.headline(plain()) == (
        f"merge r=40 is 2.00{TIMES} as fast as unmerged: 80 % of the 2.50{TIMES} that its arithmetic allows."
    )
    assert REPORT.headline(with_pytorch()).endswith(f"; 2.00{TIMES} as fast as PyTorch SDPA.")
    assert REPORT.headline(results(row("unmerged", 0, 80, 8))) == "1 experiment measured."
    # What merges counts before what drops, though that may be faster.
    drop = row("drop r=40", 40, 10, 3.2)
    drop["reduction"]["mode"] = "drop"
    assert REPORT.headline(results(*plain()["rows"], drop)).startswith("merge r=40")


def test_the_tables_have_every_number():
    tables = read(plain()).tables
    assert list(tables) == ["Speed", "Scopes", "Compiling", "Arithmetic", "Not measured"]
    merged = [
        "merge r=40",
        "40.0 [36.0, 44.0]",
        "25.0",
        "2.50",
        "2.00 [1.80, 2.20]",
        "80 [72, 88]",
        "50.0 [45.0, 55.0]",
    ]
    assert tables["Speed"][3] == [*merged, "3.00"]
    assert tables["Scopes"][3] == ["merge r=40", "25.0 [22.5, 27.5]", "25.0 [22.5, 27.5]", "2.00 [1.80, 2.20]"]
    assert tables["Compiling"][3] == ["merge r=40", "12.5", "0.500", "0.250", "0.125", "1"]
    assert tables["Arithmetic"][3] == ["merge r=40", "3.20", "6.40", "2.50", "40.0", "20.0", "25.0", "5.0", "100 → 60"]
    assert tables["Not measured"][1:] == [["merge r=60", "out of <memory>"]]
    text = REPORT.page(plain()).html
    assert "product: 90.0 GFLOP/s; copy: 4.00 GB/s" in text
    assert "attention: chunked; matching: xla" in text


def test_pytorch_is_a_column_and_its_experiments_are_rows():
    tables = read(with_pytorch()).tables
    assert tables["Compared with PyTorch"][1:] == [
        ["jax_vtm · unmerged", "2.00 [1.80, 2.20]", "8.1e-07"],
        ["jax_vtm · merge r=40", "2.00 [1.80, 2.20]", "8.1e-07"],
    ]
    assert tables["Speed"][4][0] == "pytorch_sdpa · merge r=40"
    assert tables["Speed"][4][-1] == MISSING
    assert "jax_vtm 0.001 cores, PyTorch 0.000 cores" in REPORT.page(with_pytorch()).html


def test_a_busy_machine_is_named():
    quiet = plain()
    quiet["rows"].pop()
    assert 'role="note"' not in REPORT.page(quiet).html
    quiet["measured"]["machine"]["load"] = [0.51, 0.0]
    for said in (REPORT.text(quiet), REPORT.page(quiet).html):
        said = " ".join(said.split())
        assert "The machine was busy before this began: its load was 0.5, with 2 cores. Do not quote" in said


def test_shares_of_merging_and_growth():
    made = growth()
    assert read(made).tables["Matching and merging"][1:] == [
        ["100 · merge", "2.0 [1.8, 2.2]"],
        ["200 · merge", "2.0 [1.8, 2.2]"],
    ]
    # Two experiments of a kind and a length differ in something that the figure has no place for.
    made["rows"].append(row("other", 0, 9, 4))
    assert "time" not in [figure.slug for figure in REPORT.page(made).figures]
    # One r is no line.
    assert not REPORT.page(results(*plain()["rows"][:2])).figures


def test_the_ceiling_is_drawn_where_it_is():
    (figure,) = REPORT.page(plain()).figures
    lines = {line.get_gid(): line for line in figure.drawing.axes[0].lines if "line-" in (line.get_gid() or "")}
    drawn = {
        gid: [(x, round(float(y), 3)) for x, y in zip(*line.get_data(), strict=True)] for gid, line in lines.items()
    }
    assert drawn["line-0"] == [(0, 1.0), (20, 1.6), (40, 2.5)]
    assert drawn["line-1"] == [(0, 1.0), (20, 1.6), (40, 2.0)]
    assert len(drawn) == 3


def test_the_terminal_has_the_same_tables_in_80_columns():
    for make in (plain, with_pytorch, growth):
        text = REPORT.text(make())
        assert max(map(len, text.splitlines())) <= 80
    assert re.search(r"merge r=40 +40\.0 +25\.0 +2\.50 +2\.00 ", REPORT.text(plain()))
    assert "out of <memory>" in REPORT.text(plain())
