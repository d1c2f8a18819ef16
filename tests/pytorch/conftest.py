"""The recorded models and cases are those of tests/models and tests/merging."""

import pathlib
import sys

sys.path += [str(pathlib.Path(__file__).parents[1] / folder) for folder in ("models", "merging")]
