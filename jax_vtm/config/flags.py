"""Reads the config file and the flags of a command line."""

import difflib
import pathlib
import re
from collections.abc import Sequence
from typing import Any

from absl import flags
from ml_collections import ConfigDict
from ml_collections.config_flags import config_flags

from jax_vtm.bucket import is_bucket
from jax_vtm.config.defaults import RENAMED, Config, default_config
from jax_vtm.config.files import flattened
from jax_vtm.config.grid import literal
from jax_vtm.config.schedule_file import check_schedule, schedule_of, take_schedule
from jax_vtm.errors import UserError
from jax_vtm.files import AnyPath
from jax_vtm.regular_file import as_path

# Classes of several heads, such as verb:97,noun:300.
_HEADS = re.compile(r"\w+:\d+(,\w+:\d+)*")


def config_file(words: Sequence[str], default: AnyPath) -> tuple[AnyPath, list[str]]:
    """Returns the file of `--config=FILE` or `--config FILE`, and the other words."""
    words = list(words)
    for place, word in enumerate(words):
        flag, equals, value = word.lstrip("-").partition("=")
        if word.startswith("-") and flag == "config":
            taken = 1 if equals else 2
            value = value if equals else "".join(words[place + 1 : place + 2])
            return as_path(value) if is_bucket(value) else pathlib.Path(value), words[:place] + words[place + taken :]
    return default, words


def read_flags(words: Sequence[str], config: Config, path: AnyPath) -> tuple[str, list[str]]:
    """Sets the values of flags in a config.

    Args:
        words: Of a command line, without the config file.
        config: Of the file.
        path: Of the config file.

    Returns:
        The value of `--workdir`, and the words that are no flags.

    Raises:
        UserError: Anything that cannot be understood, with what is close to it.
    """
    fields, words = _model_fields(words)
    schedule, words = schedule_of(words)
    made_for = take_schedule(schedule, config) if schedule else {}
    _check_keys(words, config, path)
    values = flags.FlagValues()
    flags.DEFINE_string("workdir", "", "Where results go.", flag_values=values)
    arguments = ["main.py", *words]
    config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=arguments)
    try:
        rest = values(arguments)[1:]
    except (flags.Error, TypeError, ValueError) as error:
        raise UserError(f"{error}. See python main.py --help.") from error
    _set_model_fields(config, fields, path)
    if schedule:
        check_schedule(schedule, made_for, config)
    r = config.reduction.r
    if not all(isinstance(entry, int) for entry in (r if isinstance(r, tuple | list) else (r,))):
        raise UserError(f"config.reduction.r is {r!r}; expected a whole number, or one per layer such as (200, 100).")
    return values["workdir"].value or "", list(rest)


def _model_fields(words: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Returns the flags for a model's own fields, and the other words."""
    fields, rest = {}, []
    remaining = iter(words)
    for word in remaining:
        flag, equals, text = word.lstrip("-").partition("=")
        field = flag.removeprefix("config.model.")
        if not word.startswith("-") or field == flag or "." in field or field in default_config("").model:
            rest.append(word)
            continue
        fields[field] = _value(text if equals else next(remaining, ""))
    return fields, rest


def _value(text: str) -> Any:
    if _HEADS.fullmatch(text):
        return {head: int(classes) for head, _, classes in (part.partition(":") for part in text.split(","))}
    return literal(text)


def _set_model_fields(config: Config, fields: dict[str, Any], path: AnyPath) -> None:
    if not fields:
        return
    name = config.model.name
    if not name:
        raise UserError(f"{path} has no model of its own, so that it has no config.model.{next(iter(fields))}.")
    if "scenic" not in config.model:
        # Imports JAX, which help and mistakes do not need.
        from jax_vtm.models import check_fields

        check_fields(name, fields)
    with config.unlocked(), config.ignore_type():
        for field, value in fields.items():
            config.model[field] = ConfigDict(value) if isinstance(value, dict) else value


def _check_keys(words: Sequence[str], config: Config, path: AnyPath) -> None:
    known = dict(flattened(config))
    for word in words:
        flag = word.lstrip("-").partition("=")[0]
        if not word.startswith("-") or not flag.startswith("config."):
            continue
        key = flag.removeprefix("config.")
        if key in known:
            continue
        for old, new in RENAMED.items():
            if f"{key}.".startswith(f"{old}."):
                raise UserError(f"the key config.{key} is now config.{new}{key.removeprefix(old)}.")
        # Most mistakes are a wrong last part, or a wrong section.
        last = {name.rpartition(".")[2]: name for name in known}
        close = difflib.get_close_matches(key, known, n=1) or [
            last[name] for name in difflib.get_close_matches(key.rpartition(".")[2], last, n=1)
        ]
        hint = f" Did you mean --config.{close[0]}?" if close else f" Its keys are {', '.join(known)}."
        raise UserError(f"{path} has no key {key!r}.{hint}")
