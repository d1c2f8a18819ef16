"""Formats numbers, counts and names of metrics for pages, terminal, figures and files."""

import math
from collections.abc import Sequence
from typing import Any, TypeGuard

from jax_vtm.data.source import SINGLE_HEAD
from jax_vtm.errors import shown
from jax_vtm.evaluation.metrics import METRICS

MISSING = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
TIMES = "\N{MULTIPLICATION SIGN}"


def is_known(value: Any) -> TypeGuard[float]:
    """Returns whether a value is a finite number; an accuracy without videos is NaN."""
    return value is not None and math.isfinite(value)


def number(value: float) -> str:
    """Formats three significant digits without an exponent: `0.157`, `1.57`, `157`, `1570`."""
    if value == 0:
        return "0"
    decimals = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{decimals}f}"


def percent(share: float) -> str:
    """Formats a share in percent: `99.4`."""
    return f"{100 * share:.1f}"


def points(difference: float) -> str:
    """Formats a difference of shares in percentage points: `+0.3`, `0.0`."""
    text = f"{100 * difference:+.1f}"
    return "0.0" if float(text) == 0 else text.replace("-", MINUS)


def signed(count: int) -> str:
    """Formats a whole number with its sign: `+3`, `0`."""
    return f"{count:+d}".replace("-", MINUS) if count else "0"


def factor(value: float) -> str:
    """Formats a factor with two decimals."""
    return f"{value:.2f}"


def ratio(value: float) -> str:
    """Formats a ratio with two decimals, a small one with three."""
    return f"{value:.2f}" if value >= 0.095 else f"{value:.3f}"


def scientific(value: float) -> str:
    """Formats a tiny number: `1.2e-06`."""
    return "0" if value == 0 else f"{value:.1e}"


def thousands(count: int) -> str:
    """Formats a count with thin spaces between thousands."""
    return f"{count:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def plural(count: int, noun: str) -> str:
    """Formats a count with its noun: `1 clip`, `3 clips`."""
    return f"{thousands(count)} {noun}{'' if count == 1 else 's'}"


def tokens_per_layer(tokens: Sequence[int]) -> str:
    """Formats the tokens entering each layer and leaving the last: `513 403 … 183 → 73`; a constant count once."""
    if len(set(tokens)) <= 1:
        return str(tokens[0]) if tokens else MISSING
    entering = [str(count) for count in tokens[:-1]]
    if len(entering) > 6:
        entering = [*entering[:3], "…", entering[-1]]
    return f"{' '.join(entering)} → {tokens[-1]}"


def metric_label(key: str) -> str:
    """Formats `verb/top1` as `verb top-1`, `label/top1` of a single head as `top-1`."""
    head, _, name = key.rpartition("/")
    return f"{head_label(head)}{METRICS.get(name, name)}"


def head_label(head: str) -> str:
    """Formats a head as a prefix, `verb `; empty for a single head."""
    return "" if head in ("", SINGLE_HEAD) else f"{head} "


def accuracy_name(key: str) -> str:
    """Formats a metric for a sentence: `action accuracy`, `accuracy`, `verb top-5 accuracy`."""
    return f"{metric_label(key).replace('top-1', '').strip()} accuracy".strip()


def shortened(name: str, length: int = 40) -> str:
    """Shortens a name for a figure or a sentence."""
    text = shown(name)
    return text if len(text) <= length else f"{text[: length - 1]}…"
