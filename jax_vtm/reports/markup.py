"""Pieces of HTML that more than one section of the page is made of. All text is escaped here."""

import html
from collections.abc import Sequence


def safe(value: object) -> str:
    """Text for between tags or in an attribute."""
    return html.escape(str(value))


def nonbreaking(text: str) -> str:
    """Keeps a number and its unit on one line."""
    return safe(text).replace(" %", "\u00a0%").replace("r = ", "r\u00a0=\u00a0")


def section(title: str, content: str) -> str:
    """A section under its heading; nothing at all without content."""
    return f"<section>\n<h2>{title}</h2>\n{content}\n</section>\n" if content else ""


def row_head(text: object, sort: object | None = None) -> str:
    """The first cell of a row, which names it."""
    return f'<th scope="row" data-sort="{safe(text if sort is None else sort)}">{safe(text)}</th>'


def cell(text: str, sort: object, kind: str = "number", *, below: str = "", hint: str = "") -> str:
    """A cell with what its column is sorted by, perhaps a second line, and what a pointer is told."""
    second = f"<small>{safe(below)}</small>" if below else ""
    title = f' title="{safe(hint)}"' if hint else ""
    key = safe("" if sort is None else sort)
    return f'<td class="{kind}" data-sort="{key}"{title}>{safe(text)}{second}</td>'


def table(label: str, heads: Sequence[tuple[str, str]], rows: Sequence[str], kind: str = "sortable") -> str:
    """A table that scrolls sideways where it has to.

    Args:
        label: What a screen reader calls it.
        heads: (text, "text" or "number") of each column.
        rows: Finished `<tr>` elements.
        kind: Classes of the table.
    """
    head = "".join(f'<th scope="col" class="{align}">{safe(text)}</th>' for text, align in heads)
    # A region that scrolls has to be reachable with the keyboard.
    return (
        f'<div class="scroll" role="region" aria-label="{safe(label)}" tabindex="0"><table class="{kind}">'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{''.join(rows)}</tbody></table></div>\n"
    )


def figure(title: str, drawing: str, caption: str = "", kind: str = "") -> str:
    """A drawing under its title and above its caption."""
    classes = f' class="{kind}"' if kind else ""
    below = f"<figcaption>{safe(caption)}</figcaption>" if caption else ""
    return f"<figure{classes}><h3>{safe(title)}</h3>{drawing}{below}</figure>\n"


def details(summary: str, content: str) -> str:
    """Content that shows when it is asked for."""
    return f"<details><summary>{nonbreaking(summary)}</summary>\n{content}</details>\n"
