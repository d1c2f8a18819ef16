"""Results of a benchmark for a reader: one list of columns for terminal, page and csv, whatever was measured."""

import dataclasses
import datetime
import os
import pathlib
import platform
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax
import jax

import jax_vtm
from jax_vtm.reports import Column, Figure, Interval, Page, Table
from jax_vtm.reports.formatting import plural
from jax_vtm.reports.page import Section, sections_page
from jax_vtm.reports.table import TERMINAL_WIDTH

Row = Mapping[str, Any]

# What changes how fast programs are.
VARIABLES = ("XLA_FLAGS", "OMP_NUM_THREADS", "NPROC", "JAX_DEFAULT_MATMUL_PRECISION", "XLA_PYTHON_CLIENT_PREALLOCATE")
PACKAGES = (
    "python",
    "jax",
    "flax",
    "jax_vtm",
    "numpy",
    "libtpu",
    "jax-cuda12-plugin",
    "torch",
    "transformers",
    "PyAV",
    "decord",
)

# Load per core up to which a machine counts as having nothing else to do.
QUIET = 0.25


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """How the rows of one kind of benchmark are shown.

    Attributes:
        names: The columns that name a row; they begin every table.
        columns: Further ones by the title of their table. A row is in the tables of which it has the first column.
        headline: The answer, of results.
        flat: Makes a row's values by the columns' keys; {"median", "low", "high"} becomes an interval.
        figures: What is drawn of results.
        facts: (name, text) of each, of results: how it was measured.
        only_on_page: Titles of tables that a terminal leaves out.
    """

    names: Sequence[Column]
    columns: Mapping[str, Sequence[Column]]
    headline: Callable[[Row], str]
    flat: Callable[[Row], Row] = lambda row: row
    figures: Callable[[Row], Sequence[Figure]] = lambda results: ()
    facts: Callable[[Row], Sequence[tuple[str, str]]] = lambda results: ()
    only_on_page: Sequence[str] = ()

    def tables(self, results: Row) -> list[Table]:
        """The tables, without empty columns and tables."""
        rows = self._rows(results)
        made = []
        for title, columns in self.columns.items():
            some = [column for column in columns if any(row.get(column.key) not in (None, "") for row in rows)]
            shown = [row for row in rows if some and row.get(some[0].key) not in (None, "")]
            if shown:
                made.append(Table(title, [*self.names, *some], shown))
        return made

    def csv(self, results: Row) -> str:
        """All columns in one table."""
        columns = {column.key: column for group in self.columns.values() for column in group}
        return Table("All", [*self.names, *columns.values()], self._rows(results)).csv()

    def text(self, results: Row) -> str:
        """The results for a terminal, 80 columns wide."""
        tables = [table for table in self.tables(results) if table.title not in self.only_on_page]
        said = [self.headline(results), *warnings(results)]
        return "\n".join(
            [
                *(f"{table.title}\n\n{table.text()}" for table in tables),
                *(textwrap.fill(s, TERMINAL_WIDTH) for s in said),
            ]
        )

    def page(self, results: Row) -> Page:
        """The page: figures, tables, and how it was measured."""
        figures = self.figures(results)
        sections = [
            Section(table.title, figures=() if place else figures, table=table)
            for place, table in enumerate(self.tables(results))
        ]
        machine = results["measured"]["machine"]
        threads = f", PyTorch on {plural(machine['torch_threads'], 'thread')}" if "torch_threads" in machine else ""
        cores = plural(machine["cores"], "core")
        facts = [
            ("Machine", f"{machine['processor']}, {cores}; {machine['device_kind']}{threads}"),
            *self.facts(results),
            ("Load", "{:.1f} before, {:.1f} after".format(*machine["load"])),
            ("Software", ", ".join(f"{name} {machine[name]}" for name in PACKAGES if name in machine)),
            ("Environment", ", ".join(f"{name}={text}" for name, text in machine["variables"].items())),
        ]
        measured = {"name": results["name"], "measured": {"created": machine["created"]}}
        return sections_page(
            measured,
            "benchmark",
            machine["device_kind"],
            self.headline(results),
            warnings(results),
            [*sections, Section("How it was measured", facts=facts)],
        )

    def _rows(self, results: Row) -> list[Row]:
        return [
            {key: Interval.of(v, "median") if isinstance(v, Mapping) else v for key, v in self.flat(row).items()}
            for row in results["rows"]
        ]


def warnings(results: Row) -> list[str]:
    """Rows that could not be measured, and a machine that had other work to do."""
    machine, rows = results["measured"]["machine"], results["rows"]
    # Where something is checked or compiled, the headline says what failed.
    missing = sum(bool(row.get("reason")) for row in rows if not row.keys() & {"ok", "compiles"})
    said = [f"{missing} of {len(rows)} experiments could not be measured here."] if missing else []
    before = machine["load"][0]
    # A compiler's estimates do not depend on it.
    if before > QUIET * machine["cores"] and not any("compiles" in row for row in rows):
        said.append(
            f"The machine was busy before this began: its load was {before:.1f}, with {machine['cores']} cores. Do not "
            "quote these numbers; measure again when it is quiet."
        )
    return said


def machine() -> dict[str, Any]:
    """Says machine, device, versions and settings of the environment."""
    device = jax.local_devices()[0]
    return {
        "created": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "processor": _processor(),
        "cores": num_cores(),
        "platform": device.platform,
        "device_kind": device.device_kind,
        "python": platform.python_version(),
        "jax": jax.__version__,
        "flax": flax.__version__,
        "jax_vtm": jax_vtm.__version__,
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
    }


def num_cores() -> int:
    """Returns how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processor() -> str:
    """The processor's name; Linux has it in a file."""
    path = pathlib.Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
