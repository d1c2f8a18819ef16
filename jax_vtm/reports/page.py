"""Pages of results: one self-contained HTML file each, with links to the other pages of its workdir."""

import base64
import dataclasses
import datetime
import functools
import os
import pathlib
import re
import urllib.parse
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from markupsafe import Markup, escape

from jax_vtm.errors import shown
from jax_vtm.files import AnyPath, encoded, found, read_files, write_files
from jax_vtm.reports.figure import PALETTE, Figure, Picture
from jax_vtm.reports.table import Column, Table

NAME = "report.html"
PICTURE_WIDTH = 720  # CSS pixels; small pictures are enlarged by whole factors up to about this width

# The links of a page, which change whenever a page is added to its workdir.
_LINKS = re.compile(r'(<nav data-page="([^"]*)">).*?(</nav>)', re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Section:
    """A section of a page; empty parts are left out, and an empty section too.

    Attributes:
        title: Its heading.
        text: A paragraph.
        picture: Below the text.
        figures: Next to each other; those without values are left out.
        table: Below the figures.
        folded: Sections that open on a click.
        caption: Below the table.
        facts: (name, text).
    """

    title: str
    text: str = ""
    figures: Sequence[Figure] = ()
    table: Table | None = None
    caption: str = ""
    picture: Picture | None = None
    facts: Sequence[tuple[str, str]] = ()
    folded: Sequence["Section"] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing below the title."""
        shown = [one for one in self.folded if not one.is_empty] or [one for one in self.figures if one.drawing]
        rows = self.table.rows if self.table else ()
        return not (self.text or shown or rows or self.caption or self.picture or self.facts)


@dataclasses.dataclass(frozen=True)
class Page:
    """A finished page: its HTML, and its figures in order."""

    html: str
    figures: Sequence[Figure]

    def write(self, workdir: AnyPath, folder: str = "", others: Mapping[str, bytes | None] | None = None) -> None:
        """Writes `report.html` and `figures/` to `workdir/folder`, and links the pages of the workdir to each other.

        `others` are files that are written there at the same time, by name; None removes one.
        """
        own = workdir / folder
        path, figures = own / NAME, f"{folder}/figures".removeprefix("/")
        given = {own / name: content for name, content in (others or {}).items()}
        others_there = [str(pathlib.PurePosixPath(folder, name)) for name in others or {}]
        patterns = (NAME, f"*/{NAME}", f"{figures}/*.pdf", f"{figures}/*.png", *others_there)
        # Drawing takes longer than the answer of a storage.
        with ThreadPoolExecutor(1) as background:
            listing = background.submit(found, workdir, *patterns)
            drawn = {own / "figures" / name: file for one in self.figures for name, file in one.files().items()}
            there = listing.result()
        pages = [place for place in there if place.name == NAME and place != path]
        # Figures of an earlier run are out of date, and so is what there is nothing to say of any more.
        files: dict[AnyPath, bytes | None] = {place: None for place in there if place.name != NAME}
        files |= drawn
        files |= {place: content for place, content in given.items() if content is not None}
        read = dict(zip(pages, read_files(pages), strict=True))
        texts = {place: (content or b"").decode("utf-8", "surrogateescape") for place, content in read.items()}
        texts[path] = self.html
        texts = {place: texts[place] for place in sorted(texts, key=lambda place: (place.parent != workdir, place))}
        # Links name the page in the workdir by its kind, those below by their folders.
        names = {
            place: match[2] if place.parent == workdir else escape(shown(place.parent.name))
            for place, text in texts.items()
            if (match := _LINKS.search(text))
        }
        for place in names:
            links = []
            for other, name in names.items() if len(names) > 1 else ():
                address = urllib.parse.quote(os.path.relpath(other, place.parent).replace(os.sep, "/"))
                here = f'<span aria-current="page">{name}</span>'
                links.append(here if other == place else f'<a href="{address}">{name}</a>')
            nav = " ".join(links)
            linked = _LINKS.sub(lambda match, nav=nav: f"{match[1]}{nav}{match[3]}", texts[place], count=1)
            if place == path or linked != texts[place]:
                files[place] = encoded(linked)
        write_files(files)


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
        results: Have a "name", and the date under "measured".
        kind: Name of the page in links from other pages.
        about: Text above the headline.
        headline: The main result.
        warnings: Texts below the headline.
        sections: From top to bottom.
    """
    created = results.get("measured", {}).get("created")
    return render_page(
        "reports/templates/sections.html.j2",
        title=str(results["name"]),
        kind=kind,
        eyebrow=[results["name"], about, _date(created)],
        headline=headline,
        warnings=warnings,
        sections=sections,
    )


def render_page(template: str, **context: Any) -> Page:
    """Renders a template that extends `reports/templates/base.html.j2`.

    The macros of `reports/templates/parts.html.j2` show figures and tables, and collect the figures to save and the
    notes on columns for the end of the page.

    Args:
        template: Path in the package, such as `visualization/page.html.j2`.
        **context: Variables of the template; text is escaped.
    """
    figures: list[Figure] = []
    notes: dict[str, dict[str, None]] = {}

    def draw(figure: Figure) -> Markup:
        figures.append(figure)
        return figure.svg()

    def remember(columns: Sequence[Column]) -> str:
        for column in columns:
            if column.note:
                notes.setdefault(column.note, {})[column.title] = None
        return ""

    collected = {"draw": draw, "remember": remember, "column_notes": notes, "figures": figures}
    html = _environment().get_template(template).render(context, **collected)
    return Page(html, figures)


@functools.cache
def _environment() -> Any:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("jax_vtm", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.globals["palette"] = PALETTE
    environment.filters |= {"nonbreaking": _nonbreaking, "image": _image}
    return environment


def _date(stamp: str | None) -> str:
    """Formats `2026-11-24T03:00:00Z` as `24 November 2026, 03:00 UTC`; returns anything else unchanged."""
    try:
        moment = datetime.datetime.fromisoformat(stamp or "")
    except ValueError:
        return stamp or ""
    zone = f" {moment.tzname()}" if moment.tzname() else ""
    return f"{moment.day} {moment:%B %Y, %H:%M}{zone}"


def _nonbreaking(text: str) -> str:
    return str(text).replace(" %", "\u00a0%").replace("r = ", "r\u00a0=\u00a0")


def _image(picture: Picture) -> Markup:
    width, height = picture.size
    text = '<img alt="{}" width="{}" height="{}" style="width:{}px" src="data:image/png;base64,{}">'
    enlarged = width * max(1, PICTURE_WIDTH // width)
    return Markup(text).format(picture.title, width, height, enlarged, base64.b64encode(picture.png).decode("ascii"))
