"""Tables, figures and pages of results, for all commands."""

from jax_vtm.reports.figure import Figure, Picture
from jax_vtm.reports.headline import headline
from jax_vtm.reports.membership_picture import contact_sheet, draw_groups, draw_groups_apart, group_colours
from jax_vtm.reports.page import Page, render_page
from jax_vtm.reports.runs import print_runs, runs_table
from jax_vtm.reports.table import Column, Interval, Table

__all__ = [
    "Column",
    "Figure",
    "Interval",
    "Page",
    "Picture",
    "Table",
    "contact_sheet",
    "draw_groups",
    "draw_groups_apart",
    "group_colours",
    "headline",
    "print_runs",
    "render_page",
    "runs_table",
]
