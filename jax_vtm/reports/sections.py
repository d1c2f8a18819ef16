"""Pages that are sections below each other, each with what it has of text, figures, tables, a picture and facts."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from jax_vtm.reports import runs
from jax_vtm.reports.figure import Figure, Picture
from jax_vtm.reports.page import Page, date, render_page
from jax_vtm.reports.table import Table


@dataclasses.dataclass(frozen=True)
class Section:
    """One section; what it does not have is left out.

    Attributes:
        title: Its heading.
        text: A paragraph below it.
        figures: Next to each other.
        table: Below them.
        caption: Below the table.
        picture: Below that.
        facts: (name, text) of each.
        folded: Between table and caption: sections that are read on request, of which only the titles are seen.
    """

    title: str
    text: str = ""
    figures: Sequence[Figure] = ()
    table: Table | None = None
    caption: str = ""
    picture: Picture | None = None
    facts: Sequence[tuple[str, str]] = ()
    folded: Sequence["Section"] = ()


def sections_page(
    results: Mapping[str, Any],
    kind: str,
    about: str,
    headline: str,
    warnings: Sequence[str],
    sections: Sequence[Section],
) -> Page:
    """Makes a page of sections.

    Args:
        results: With the run's "name".
        kind: What links of other pages call it.
        about: Above the headline, between the run's name and the date.
        headline: The answer.
        warnings: What the numbers leave out.
        sections: From top to bottom.
    """
    created = results.get("measured", {}).get("created")
    return render_page(
        "reports/templates/sections.html.j2",
        title=str(results["name"]),
        kind=kind,
        eyebrow=[results["name"], about, date(created)],
        headline=headline,
        warnings=warnings,
        sections=sections,
    )


def closing_sections(results: Mapping[str, Any], before: str = "", text: str = "") -> list[Section]:
    """The last sections of a page of runs: which videos could not be read, and how everything was measured.

    Args:
        results: In the form of an evaluation's.
        before: Before their titles, where a page has several such results.
        text: Above the facts.
    """
    failures = runs.failures_table(results)
    # Compiling and running times of many runs would fill pages.
    few = results if len(results["runs"]) <= 2 else {**results, "runs": []}
    hidden = results["dataset"]["n_failed"] - len(results["failures"])
    more = f"{hidden} more are in failures.csv." if hidden else ""
    return [
        *([Section(f"{before}Videos that could not be read", table=failures, caption=more)] if failures else []),
        Section(f"{before}How it was measured", text, facts=runs.measured_facts(few)),
    ]
