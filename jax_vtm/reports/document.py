"""A page around its sections: one HTML file that needs nothing outside itself."""

import importlib.resources
from collections.abc import Sequence

from jax_vtm.reports.markup import nonbreaking, safe

# A row is sorted by the number in data-sort; without scripts the table simply keeps its order.
_SORT_SCRIPT = """
for (const head of document.querySelectorAll("table.sortable thead th")) {
  const button = document.createElement("button");
  button.type = "button";
  button.append(...head.childNodes);
  head.append(button);
  button.addEventListener("click", () => {
    const body = head.closest("table").tBodies[0];
    const rising = head.getAttribute("aria-sort") !== "ascending";
    for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", rising ? "ascending" : "descending");
    const key = (row) => row.cells[head.cellIndex].dataset.sort;
    const compare = (a, b) => (isNaN(a) || isNaN(b) || a === "" || b === "" ? a.localeCompare(b) : a - b);
    const rows = [...body.rows].sort((a, b) => compare(key(a), key(b)) * (rising ? 1 : -1));
    body.append(...rows);
  });
}
"""


def document(
    title: str,
    eyebrow: str,
    answer: str,
    warnings: Sequence[str],
    sections: Sequence[str],
    *,
    style: str = "",
    script: str = "",
) -> str:
    """Puts a page together. It loads nothing, follows the reader's light or dark setting, fits a phone and prints.

    Args:
        title: Of the window.
        eyebrow: The line above the answer.
        answer: The first thing that is read, a sentence.
        warnings: Below the answer.
        sections: Finished HTML; empty ones are left out.
        style: More rules than all pages have.
        script: What else runs once the page is there.
    """
    notes = "".join(f'<p class="warning" role="note">{safe(note)}</p>\n' for note in warnings)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; \
style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>{safe(title)} · video token merging</title>
<style>
{importlib.resources.files("jax_vtm.reports").joinpath("report.css").read_text(encoding="utf-8")}{style}</style>
</head>
<body>
<header>
<p class="eyebrow">{safe(eyebrow)}</p>
<h1>{nonbreaking(answer)}</h1>
{notes}</header>
<main>
{"".join(sections)}</main>
<script>{_SORT_SCRIPT}{script}</script>
</body>
</html>
"""
