"""Models and counts that the tests of models have, and the reader of pages."""

import pathlib
import sys

for folder in ("models", "reports"):
    sys.path.append(str(pathlib.Path(__file__).parents[1] / folder))
