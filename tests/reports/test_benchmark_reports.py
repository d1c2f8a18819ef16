import re

import pytest
from benchmark_examples import beside_pytorch, growth, plain, results, row
from page_reader import PageReader as Page

from jax_vtm.benchmarks.page import render_benchmark
from jax_vtm.benchmarks.plots import growth_plots, speed_up_plots
from jax_vtm.benchmarks.table import format_benchmark
from jax_vtm.benchmarks.words import between, busy_words, headline
from jax_vtm.reports.lines import Series, Value, lines
from jax_vtm.reports.wording import MINUS, MISSING, TIMES


def words(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("make", [plain, beside_pytorch, growth, results])
def test_the_page_is_well_formed_and_loads_nothing(make):
    text = render_benchmark(make())
    page = Page(text)
    assert next(name for name, _ in page.tags if name in ("h1", "h2", "h3")) == "h1"
    assert not re.search(r"https?://|@import|url\(", text)
    assert "26 November 2026" in text


def test_the_answer_is_the_fastest_merging_settings():
    assert headline(plain()) == (
        f"merge r=40 is 2.00{TIMES} as fast as unmerged: 80 % of the 2.50{TIMES} that its arithmetic allows."
    )
    assert headline(beside_pytorch()).endswith(f"It is 2.00{TIMES} as fast as PyTorch SDPA.")
    assert headline(results(row("unmerged", 0, 80, 8))) == ""
    # What merges counts before what drops, though that may be faster.
    drop = row("drop r=40", 40, 10, 3.2)
    drop["reduction"]["mode"] = "drop"
    assert headline(results(*plain()["rows"], drop)).startswith("merge r=40")


def test_the_table_has_every_number():
    table = words(format_benchmark(plain()))
    assert f"merge r=40 3.20 40.0 [36.0, 44.0] 25.0 2.50{TIMES} 2.00 [1.80, 2.20] 80 [72, 88] 50.0 3.00" in table
    assert "merge r=40 1 0.500 12.5 0.250 0.125" in table
    assert "not measured: merge r=60: out of <memory>" in table
    assert "product: 90.0 GFLOP/s; copy: 4 GB/s." in table
    assert "load of the machine before 0.5, after 2.2" in table
    assert "PyTorch" not in table


def test_other_implementations_stand_below_ours():
    table = format_benchmark(beside_pytorch())
    rows = [words(line).replace(MISSING, "-") for line in table.split("Beside PyTorch")[1].splitlines()[3:7]]
    assert rows == [
        "unmerged jax_vtm 80.0 [72.0, 88.0] - - -",
        "unmerged PyTorch SDPA 160 [144, 176] - 2.00 [1.80, 2.20] 8.1e-07",
        "merge r=40 jax_vtm 40.0 [36.0, 44.0] 2.00 [1.80, 2.20] - -",
        "merge r=40 PyTorch SDPA 80.0 [72.0, 88.0] 1.00 [0.90, 1.10] 2.00 [1.80, 2.20] 8.1e-07",
    ]
    assert "jax_vtm kept 0.001 cores busy and PyTorch kept 0.000 cores busy" in words(table)
    page = render_benchmark(beside_pytorch())
    assert "jax_vtm kept 0.001 cores busy" in page
    assert page.count("PyTorch SDPA</td>") == 2


def test_a_busy_machine_is_named():
    quiet = plain()
    assert busy_words(quiet) == ""
    quiet["machine"]["load"] = [0.51, 0.0]
    assert busy_words(quiet).startswith("The machine was busy before this began: its load was 0.5, with 2 cores.")
    assert "Do not quote these numbers" in format_benchmark(quiet)
    assert "Do not quote these numbers" in render_benchmark(quiet)
    assert "attention: chunked; matching: xla" in render_benchmark(quiet)


def test_shares_of_merging_and_growth():
    table = words(format_benchmark(growth()))
    assert "100 · merge 100 2.0 [1.8, 2.2]" in table
    titles = [title for title, _, _ in growth_plots(growth()["rows"])]
    assert titles == ["Seconds per clip", "Temporary memory, MiB", "Matching and merging, percent of the time"]
    assert "merge: 100: 2 %, 200: 2 %" in growth_plots(growth()["rows"])[2][1]
    assert growth_plots(plain()["rows"][:3]) == []
    # Two settings of a kind and a length differ in something that the plot has no place for.
    assert growth_plots([*growth()["rows"], row("other", 0, 9, 4)]) == []


def test_the_ceiling_is_drawn_above_what_was_measured():
    ((title, drawing, _),) = speed_up_plots(plain()["rows"][:3])
    assert title == "merge"
    assert f"MAC ratio: 0: 1{TIMES}, 20: 1.6{TIMES}, 40: 2.5{TIMES}" in drawing
    assert f"model alone: 0: 1{TIMES}, 20: 1.6{TIMES}, 40: 2{TIMES}" in drawing
    assert f"with decoding: 0: 1{TIMES}" in drawing
    # One r is no line.
    assert speed_up_plots(plain()["rows"][:2]) == []


def test_lines_stay_inside_their_plot():
    series = [Series("a", [Value(0, 1, 0.5, 1.5), Value(9, 4, 3, 5)]), Series("b", [Value(2, 2, 2, 2)], computed=True)]
    drawing = lines("some", series, "x")
    (dots, other) = re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', drawing)
    assert float(dots[0]) < float(other[0]) <= 360
    assert 0 <= float(other[1]) < float(dots[1]) <= 200
    assert drawing.count("<circle") == 2
    assert drawing.count('class="guide"') == 2


def test_values_have_a_true_minus():
    assert between({"median": -0.5, "low": -1.0, "high": 0.25}, 1, 100) == f"{MINUS}50.0 [{MINUS}100.0, 25.0]"
    assert between(None, 1) == MISSING
