"""`--config.reduction=FILE`: a schedule that `calibrate` has written, in place of the config's reduction."""

import json
from collections.abc import Sequence
from typing import Any

from jax_vtm.config.defaults import Config
from jax_vtm.errors import UserError, shown
from jax_vtm.files import read_files
from jax_vtm.regular_file import as_path

FORMAT = "jax_vtm schedule 1"

_FLAG = "config.reduction"


def schedule_of(words: Sequence[str]) -> tuple[str, list[str]]:
    """Returns the file of `--config.reduction=FILE` or `--config.reduction FILE`, if there is one, and other words."""
    words = list(words)
    for place, word in enumerate(words):
        flag, equals, value = word.lstrip("-").partition("=")
        if word.startswith("-") and flag == _FLAG:
            taken = 1 if equals else 2
            return value if equals else "".join(words[place + 1 : place + 2]), words[:place] + words[place + taken :]
    return "", words


def take_schedule(name: str, config: Config) -> dict[str, Any]:
    """Sets `config.reduction` to that of a schedule's file, and returns what the schedule was made for.

    Raises:
        UserError: It cannot be read, or is not such a file.
    """
    (content,) = read_files([as_path(name)])
    if content is None:
        raise UserError(f"--{_FLAG}={name}: there is no such file; expected one that calibrate has written.")
    try:
        schedule = json.loads(content)
        if schedule["format"] != FORMAT:
            raise ValueError(f"its format is {schedule['format']!r}, not {FORMAT!r}")
        reduction, made_for = schedule["reduction"], schedule["made_for"]
        if not all(isinstance(made_for[key], kind) for key, kind in (("model", str), ("layers", int), ("tokens", int))):
            raise ValueError("made_for does not say the model, its layers and its tokens")
        if unknown := reduction.keys() - config.reduction.keys():
            raise ValueError(f"reduction has keys that this version does not know: {', '.join(sorted(unknown))}")
        config.reduction.update({k: tuple(v) if isinstance(v, list) else v for k, v in reduction.items()})
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(
            f"--{_FLAG}={name}: is not a schedule as calibrate writes it ({type(error).__name__}: {shown(error)})."
        ) from error
    return made_for


def check_schedule(name: str, made_for: dict[str, Any], config: Config) -> None:
    """Makes sure that a schedule was made for a config's model.

    Raises:
        UserError: It has another name, other layers or other tokens.
    """
    # Imports JAX, which help and mistakes do not need.
    from jax_vtm.models import create_model, from_scenic_config, num_merging_layers

    fields = config.model.to_dict()
    preset, scenic = fields.pop("name"), fields.pop("scenic", None)
    del fields["dtype"]
    model = from_scenic_config(**scenic) if scenic is not None else create_model(preset, **fields)
    own = {"model": preset, "layers": num_merging_layers(model), "tokens": model.tokens_per_layer[0]}
    if wrong := [key for key, value in own.items() if made_for[key] != value]:
        theirs = ", ".join(f"{key} {shown(made_for[key])}" for key in wrong)
        ours = ", ".join(f"{key} {own[key]}" for key in wrong)
        raise UserError(
            f"--{_FLAG}={name}: was searched for {theirs}; the config has {ours}. Run calibrate for this model."
        )
