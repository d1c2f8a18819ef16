"""The texts of `--help`: all commands on one screen; keys, examples and files of one command."""

import textwrap

from jax_vtm.commands.table import COMMANDS
from jax_vtm.config import KEYS, SECTIONS, Config, flattened

WIDTH = 80
COLUMN = 30
LONGEST_VALUE = 24

_OTHER = (None, "a field of the model")

OVERVIEW = """Video token merging in JAX: speed and accuracy on your videos.

usage: {program} [COMMAND] [--config=NAME] [--workdir=DIR]
       [--config.KEY=VALUE ...] [--version]

{commands}

{program} COMMAND --help   keys, examples, files that it writes
--config   a name in configs/ or your own file, which is executed; default
           moving_digits, an embedded model with embedded videos
--workdir  default runs/..., named after the settings that results depend on
exit codes: 0 done, 1 a fault of the program, 2 a mistake in command or files,
            3 videos failed or missing, 4 stopped; the same command resumes"""


def overview(program: str) -> str:
    """Returns the help of all commands, which fits 80 x 24 characters."""
    commands = "\n".join(f"  {name:<11}{command.summary}" for name, command in COMMANDS.items())
    return OVERVIEW.format(program=program, commands=commands)


def command_help(program: str, name: str, config: Config) -> str:
    """Returns the help of one command: its keys with the config's values, by section."""
    command = COMMANDS[name]
    lines = [*_wrapped(f"{program} {name}: {command.summary}", 0, 2), "", "examples:"]
    for example in command.examples:
        words = f"{program} {name} {example}".split()
        lines += _wrapped(" ".join(words), 2, 6)
    lines += ["", "writes to its workdir:", *_wrapped(command.leaves, 2, 2)]
    if command.has_dry_run:
        lines += ["", "--dry_run only lists the runs, with tokens and MACs."]
    lines += [
        "",
        *_wrapped(f"keys, with their values in the config {config.name}, changed by --config.KEY=VALUE:", 0, 2),
    ]
    values = dict(flattened(config))
    # A model's own fields come last in their section; experiments of a sweep are one value.
    order = dict.fromkeys((*KEYS, *(key for key in values if not key.startswith("sweep."))))
    for section, title in SECTIONS.items():
        of_section = [key for key in order if (key.partition(".")[0] if "." in key else "") == section]
        keys = [key for key in of_section if f"{key}.".startswith(tuple(f"{one}." for one in command.keys))]
        if keys:
            lines += ["", *_wrapped(f"{section}.KEY: {title}" if section else title, 0, 2)]
        for key in keys:
            lines += _key_lines(key.removeprefix(f"{section}."), values.get(key, {}), KEYS.get(key, _OTHER)[1])
    return "\n".join(lines)


def _key_lines(key: str, value: object, description: str) -> list[str]:
    text = textwrap.shorten(repr(value), LONGEST_VALUE, placeholder="...")
    head = f"  {key}" if value is None else f"  {key}={text}"
    lines = _wrapped(description, COLUMN, COLUMN)
    if len(head) < COLUMN - 1:
        return [head.ljust(COLUMN) + lines[0].lstrip(), *lines[1:]]
    return [head, *lines]


def _wrapped(text: str, first: int, others: int) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=" " * first,
        subsequent_indent=" " * others,
        break_long_words=False,
        break_on_hyphens=False,
    )
