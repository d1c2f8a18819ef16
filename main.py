"""Evaluates video transformers with token merging; `python main.py --help` says how."""

import sys

from jax_vtm.cli import main

if __name__ == "__main__":
    sys.exit(main())
