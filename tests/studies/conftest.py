"""The reader of pages and examples of results, which tests of pages have."""

import pathlib
import sys

sys.path.append(str(pathlib.Path(__file__).parents[1] / "reports"))
