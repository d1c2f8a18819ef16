"""Evaluates video transformers with token merging; `python main.py --help` says how."""

import pathlib
import sys

from jax_vtm.cli import run

if __name__ == "__main__":
    sys.exit(run(sys.argv, default_config=pathlib.Path(__file__).parent / "configs" / "moving_digits.py"))
