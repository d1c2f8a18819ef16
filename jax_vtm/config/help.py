"""What `--help` says."""

import pathlib
import textwrap
from collections.abc import Mapping

from jax_vtm.config.defaults import Config
from jax_vtm.config.files import flattened

LONGEST_LIST_IN_HELP = 100

HELP = """Video token merging in JAX: evaluate video transformers with training-free token merging.

usage: python main.py [COMMAND] [--config=FILE] [--workdir=DIR] [--config.KEY=VALUE ...]

Config files are Python and are executed: give none that you would not run.

commands:
{commands}

flags:
  --config=FILE       a Python file with get_config(); default {default}
  --workdir=DIR       where results go; by default a folder in runs/, named after the config, what flags change, and
                      a hash of all settings that results depend on
  --config.KEY=VALUE  changes one value of the config, for example
                      --config.reduction.r=100 --config.reduction.mode=drop
                      or any field of the model (README, Models): --config.model.num_classes=101
                      --config.model.num_classes=verb:97,noun:300 --config.model.num_frames=8
  --dry_run           with sweep and benchmark: only lists the runs, with tokens and MACs

evaluate leaves in its workdir:
  report.html  results.json  predictions.npz  confusion.npz  merged_tokens.png  config.json
  failures.csv  the videos that could not be read, and why, if there are any
  journal/      the predictions so far: after a stop, the same command goes on from there
compare leaves in the workdir's folder compare:
  report.html  compare.json  flips.csv
visualize leaves in the workdir's folder visualize:
  report.html  visualize.json  and for each video  sheet.png  groups.mp4  groups.gif  membership.npz
benchmark leaves in its workdir:
  benchmark.jsonl  benchmark.csv  benchmark.json  config.json  benchmark/report.html  benchmark/figures/
parity leaves in the workdir's folder parity:
  report.html  parity.json  figures/
study leaves in the workdir's folder study:
  report.html  results.json  layers.csv  videos.csv  config.json

exit codes:
  0 done   1 a fault of the program   2 a mistake in the command, config or files
  3 done, but more videos failed than data.max_failures, or videos to compare are missing
  4 stopped by SIGTERM before it was done; the same command goes on from there

keys of {config}, with their values (jax_vtm/config/defaults.py says what each is):
{keys}
"""

UNSET = "not set, so that the protocol, the model or JAX says them"


def help_text(config: Config, file: pathlib.Path, default: pathlib.Path, commands: Mapping[str, str]) -> str:
    """Returns the text.

    Args:
        config: Whose keys and values are listed.
        file: Its file.
        default: The config file of a command line that names none.
        commands: What each of them does.
    """
    return HELP.format(
        commands="\n".join(f"  {name:<19}{text}" for name, text in commands.items()),
        keys="\n".join(_key_lines(config)),
        config=file.name,
        default=f"{default.parent.name}/{default.name}",
    )


def _key_lines(config: Config) -> list[str]:
    """One line for each key that has a value, a gap between sections, and the others together in a few lines."""
    lines, section, unset = [], "", []
    for key, value in sorted(flattened(config), key=lambda pair: ("." in pair[0], pair[0])):
        if value is None:
            unset.append(key)
            continue
        if key.partition(".")[0] != section and "." in key:
            section = key.partition(".")[0]
            lines.append("")
        lines.append(f"  {key} = {_shown(value)}")
    if unset:
        lines += [
            "",
            f"  {UNSET}:",
            *textwrap.wrap(", ".join(unset), initial_indent=4 * " ", subsequent_indent=4 * " "),
        ]
    return lines


def _shown(value: object) -> str:
    """Writes a value, but only the beginning of a long list."""
    text = repr(value)
    return text if isinstance(value, str) or len(text) <= LONGEST_LIST_IN_HELP else f"{text[:LONGEST_LIST_IN_HELP]}..."
