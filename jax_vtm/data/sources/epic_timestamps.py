"""The time stamps of EPIC-KITCHENS, and the two ways in which they are read."""

import re
from typing import Literal, get_args

TimestampReading = Literal["exact", "reference"]
"""How a time stamp's fraction is read.

`exact` takes "00:00:01.5" for 1.5 s. `reference` takes every fraction for hundredths, and that one for 1.05 s, as the
PyTorch reference does. Fractions of two digits, which the published annotations have, mean the same in both.
"""

READINGS: tuple[str, ...] = get_args(TimestampReading)


def seconds(timestamp: str, reading: TimestampReading = "exact") -> float:
    """Reads a time stamp `HH:MM:SS[.fraction]`.

    Raises:
        ValueError: It is none.
    """
    match = re.fullmatch(r"([0-9]+):([0-5][0-9]):([0-5][0-9])(?:\.([0-9]+))?", timestamp)
    if not match:
        raise ValueError(f"{timestamp!r} is not a time such as 00:01:02.34")
    hours, minutes, whole = (int(part) for part in match.groups()[:3])
    digits = match[4] or "0"
    fraction = int(digits) / (100 if reading == "reference" else 10 ** len(digits))
    return 3600 * hours + 60 * minutes + whole + fraction
