from pathlib import Path
from typing import get_args

import protocol_page

from jax_vtm.data.protocol import Sampling
from jax_vtm.data.protocols import PROTOCOLS
from jax_vtm.data.spatial import GEOMETRIES

PAGE = (Path(__file__).parents[2] / "docs" / "protocols.md").read_text()


def test_the_page_has_the_tables_of_the_code():
    for table in (protocol_page.table(), protocol_page.strides()):
        assert table in PAGE, f"docs/protocols.md: replace the table by\n{table}"


def test_the_page_explains_every_name():
    for name in PROTOCOLS:
        assert f"\n| `{name}` | " in PAGE
    for name in (*get_args(Sampling), *GEOMETRIES):
        assert f"\n| {name} | " in PAGE


def test_every_protocol_has_its_row():
    rows = protocol_page.table().splitlines()[2:]
    published = [(name, family) for name, families in PROTOCOLS.items() for family in families]
    for name, family in published:
        model, _ = protocol_page.MODELS[family]
        own = [row for row in rows if row.startswith(f"| `{name}` | {model} |")]
        for dataset in PROTOCOLS[name][family]:
            assert sum(protocol_page.DATASETS[dataset] in row for row in own) == 1
