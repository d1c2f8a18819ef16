"""Results -> tables, plots, pictures, one HTML page. Knows nothing of how they were computed."""

from jax_vtm.reports.labelled import labelled_sheet, side_by_side
from jax_vtm.reports.membership_picture import contact_sheet, draw_groups, draw_groups_apart, group_colours
from jax_vtm.reports.page import render_report
from jax_vtm.reports.picture import Picture
from jax_vtm.reports.table import format_results, markdown_table
from jax_vtm.reports.wording import comparison_sentence, failure_note, headline

__all__ = [
    "Picture",
    "comparison_sentence",
    "contact_sheet",
    "draw_groups",
    "draw_groups_apart",
    "failure_note",
    "format_results",
    "group_colours",
    "headline",
    "labelled_sheet",
    "markdown_table",
    "render_report",
    "side_by_side",
]
