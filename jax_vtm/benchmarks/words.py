"""A benchmark's results in words: the sentence at the top, and how measured values are written."""

from collections.abc import Mapping
from typing import Any

from jax_vtm.reports import wording

OURS = "jax_vtm"

# Load per core up to which a machine counts as having nothing else to do.
QUIET = 0.25

_NAMES = {
    "pytorch_eager": "PyTorch eager",
    "pytorch_sdpa": "PyTorch SDPA",
    "pytorch_compiled": "PyTorch SDPA, compiled",
}


def measured_rows(results: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The rows of settings that were measured."""
    return [row for row in results["rows"] if row["status"] == "measured"]


def implementation(name: str) -> str:
    """An implementation as people call it."""
    return _NAMES.get(name, name)


def value(level: Mapping[str, Any], key: str) -> float | None:
    """A median; None where there is none."""
    return level[key]["median"] if key in level else None


def milliseconds(spread: Mapping[str, float]) -> str:
    """A time and its quartiles, `12.3 [12.1, 12.9]`."""
    return f"{wording.number(spread['median'])} [{wording.number(spread['low'])}, {wording.number(spread['high'])}]"


def between(spread: Mapping[str, float] | None, decimals: int, factor: float = 1.0) -> str:
    """A median and its quartiles with fixed digits, `2.01 [1.98, 2.05]`."""
    if not spread:
        return wording.MISSING
    median, low, high = (f"{factor * spread[key]:.{decimals}f}" for key in ("median", "low", "high"))
    return f"{median} [{low}, {high}]".replace("-", wording.MINUS)


def small(number: float | None) -> str:
    """A number far below 1, `8.1e-07`."""
    return wording.MISSING if number is None else f"{number:.1e}"


def headline(results: Mapping[str, Any]) -> str:
    """The answer: what the fastest merging setting gains, and how much of what its arithmetic allows that is.

    Where nothing merges it speaks of another mode.
    """
    merged = [
        row
        for row in measured_rows(results)
        if row["implementation"] == OURS
        and not row["sliced"]
        and row["reduction"]["mode"] != "none"
        and "speed_up" in row["levels"]["model"]
    ]
    if not merged:
        return ""
    merged = [row for row in merged if row["reduction"]["mode"] == "merge"] or merged
    best = max(merged, key=lambda row: row["levels"]["model"]["speed_up"]["median"])
    level = best["levels"]["model"]
    baseline = best["baseline"].split(" · ")[-1]
    sentence = (
        f"{best['name']} is {wording.times(level['speed_up']['median'])} as fast as {baseline}: "
        f"{level['percent_of_mac_ratio']['median']:.0f} % of the {wording.times(best['mac_ratio'])} that its "
        "arithmetic allows."
    )
    others = [
        f"{wording.times(one['times_as_fast']['median'])} as fast as {implementation(name)}"
        for name, one in best["beside"].items()
    ]
    if others:
        sentence += f" It is {'; '.join(others)}."
    return sentence


def peak_words(results: Mapping[str, Any]) -> str:
    """What the machine could do at the same time."""
    parts = []
    for peak in results["peaks"]:
        per_s = peak["per_s"]["median"]
        rate = f"{wording.number(2 * per_s / 1e9)} GFLOP/s" if peak["unit"] == "MAC" else f"{per_s / 1e9:.3g} GB/s"
        parts.append(f"{peak['description']}: {rate}")
    return f"Peaks of the machine, timed in the same rounds: {'; '.join(parts)}." if parts else ""


def machine_words(results: Mapping[str, Any]) -> str:
    """What it ran on, and what else the machine did."""
    machine = results["machine"]
    before, after = machine["load"]
    versions = ", ".join(
        f"{name} {machine[name]}"
        for name in ("python", "jax", "flax", "jax_vtm", "torch", "transformers")
        if name in machine
    )
    if "torch_threads" in machine:
        versions += f" (PyTorch on {machine['torch_threads']} threads)"
    rounds = f"{results['rounds']} round{'s' if results['rounds'] > 1 else ''}"
    return (
        f"{machine['processor']}, {machine['cores']} cores; device {machine['device_kind']}; {versions}; {rounds}; "
        f"load of the machine before {before:.1f}, after {after:.1f}; {machine['created']}."
    )


def busy_words(results: Mapping[str, Any]) -> str:
    """A warning where the machine had other work to do; empty where it was quiet."""
    machine = results["machine"]
    before, _ = machine["load"]
    if before <= QUIET * machine["cores"]:
        return ""
    return (
        f"The machine was busy before this began: its load was {before:.1f}, with {machine['cores']} cores. Do not "
        "quote these numbers; measure again when it is quiet."
    )


def idle_words(results: Mapping[str, Any]) -> str:
    """How busy each implementation's process was while it waited for the other; empty where there was only one."""
    idle = results["machine"]["idle"]
    if not idle:
        return ""
    parts = " and ".join(f"{name} kept {busy:.3f} cores busy" for name, busy in idle.items())
    return f"While waiting for the other's process, {parts}."
