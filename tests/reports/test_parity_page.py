import pytest
from page_reader import HOSTILE, PageReader
from parity_examples import ALIKE, NEAR_TIE, OTHER_ORDER, UNEXPLAINED, parity

from jax_vtm.parity.page import headline, parity_page, parity_text, share
from jax_vtm.reports.formatting import MISSING, TIMES

EXAMPLES = {"alike": ALIKE, "near tie": NEAR_TIE, "order": OTHER_ORDER, "unexplained": UNEXPLAINED}


@pytest.mark.parametrize("results", EXAMPLES.values(), ids=EXAMPLES)
def test_page_is_well_formed_opens_with_the_answer_and_loads_nothing(results):
    page = PageReader(parity_page(results).html)
    assert "".join(page.text["h1"]).replace("\u00a0", " ") == headline(results)
    assert len(headline(results)) <= 160, "two lines of a page 1280 pixels wide"
    assert len(page.of("svg")) == 2
    assert {"1e\N{MINUS SIGN}06", "1e\N{MINUS SIGN}07"} & {text.strip() for text in page.text["text"]}
    assert not page.of("link")
    assert all("src" not in attributes for attributes in page.of("script"))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("alike", f"agree in all 200 merging decisions; logits differ by at most 1.5e-06; JAX runs 1.50{TIMES}"),
        ("near tie", "agree in 199 of 200 merging decisions (near ties); logits differ by at most 6.0e-05; JAX"),
        ("order", "agree in all 200 merging decisions but for the order of 2 kept tokens (near ties); "),
        ("unexplained", "agree in 198 of 200 merging decisions (more than near ties); "),
    ],
)
def test_headline(name, said):
    assert said in headline(EXAMPLES[name])


def test_only_what_rounding_does_not_explain_is_a_warning():
    warned = [name for name, results in EXAMPLES.items() if 'role="note"' in parity_page(results).html]
    assert warned == ["unexplained"]


def test_uneven_speeds_are_not_summed_up():
    measured = {**ALIKE["measured"], "ratio": {**ALIKE["measured"]["ratio"], "lowest": 0.9}}
    assert headline(parity(measured=measured)).endswith(
        f"JAX runs 0.90{TIMES} to 2.00{TIMES} as fast, too uneven for a median."
    )


@pytest.mark.parametrize(
    ("load", "threads", "busy"), [(None, 2, False), (2.9, 2, False), (3.1, 2, True), (3.1, 1, True)]
)
def test_a_busy_machine_is_a_warning(load, threads, busy):
    results = parity(measured={**ALIKE["measured"], "load_average": load})
    results["environment"]["threads"] = threads
    for said in (parity_page(results).html, parity_text(results)):
        assert ("The machine was busy (load 3.1 on 2 cores)" in said) == busy
        assert ("parity.threads=1" in said) == (busy and threads > 1)


def test_without_decisions_it_says_so():
    layers = [{**layer, "matching": None} for layer in ALIKE["layers"]]
    random = parity(layers=layers, reduction={"mode": "random_merge", "r": 100})
    assert headline(random).startswith("JAX and PyTorch merge nothing by similarity; ")
    unmerged = parity(layers=layers, reduction={"mode": "none", "r": 0})
    assert headline(unmerged).startswith("JAX and PyTorch merge nothing; ")
    assert "Decisions" not in PageReader(parity_page(random).html).tables


def test_numbers_are_the_ones_given_and_layers_begin_at_0():
    tables = PageReader(parity_page(NEAR_TIE).html).tables
    assert tables["Differences"][1:] == [
        ["embedding", "513", "0", "0", MISSING, "0", "4.0e-07", MISSING],
        ["layer 0", "413", "9.0e-07", "3.0e-07", "100", "3.0e-07", "4.0e-07", "100"],
        ["layer 1", "313", "3.0e-03", "1.0e-03", "99.50", "4.0e-07", "4.0e-07", "100"],
        ["logits", MISSING, "6.0e-05", "2.0e-05", MISSING, "5.0e-07", "4.0e-07", MISSING],
    ]
    assert tables["Decisions"][1:] == [
        ["layer 0", "100", "100", "100", "100", "5.0e-07", MISSING],
        ["layer 1", "100", "100", "99.00", "100", "5.0e-07", "6.0e-08"],
    ]
    assert tables["Speed"][1] == ["JAX", "10.0 [9.00, 11.0]"]


def test_what_does_not_differ_at_all_has_no_figure():
    layers = [{**layer, "matching": None} for layer in ALIKE["layers"]]
    for layer in layers:
        layer |= {side: {"largest": 0.0, "relative": 0.0} for side in ("own", "replayed", "noise_floor")}
    assert [figure.name for figure in parity_page(parity(layers=layers)).figures] == ["tokens"]


def test_hostile_names_stay_text():
    text = parity_page(parity(name=HOSTILE, clips=[HOSTILE])).html
    assert HOSTILE not in text
    PageReader(text)


def test_the_terminal_has_the_same_rows_in_80_columns():
    text = parity_text(NEAR_TIE)
    assert max(map(len, text.splitlines())) <= 80
    assert {"3.0e-03", "1.0e-03", "99.50"} <= set(text.split())


def test_nearly_all_is_not_all():
    assert [share(value) for value in (1.0, 1 - 1e-7, 0.0)] == ["100", "99.99", "0.00"]
