"""`python -m jax_vtm`, the same as `python main.py` and `jax-vtm`."""

import sys

from jax_vtm.cli import main

if __name__ == "__main__":
    sys.exit(main())
