"""Config files: Python files with a `get_config()`."""

import pathlib
import sysconfig

from ml_collections import ConfigDict

from jax_vtm.config.defaults import RENAMED, Config
from jax_vtm.config.scenic import adopted, is_scenic
from jax_vtm.errors import UserError


def config_folder() -> pathlib.Path:
    """Returns the folder of the configs that come with the program, in a clone or where they were installed."""
    in_a_clone = pathlib.Path(__file__).parents[2] / "configs"
    installed = pathlib.Path(sysconfig.get_path("data"), "share", "jax_vtm", "configs")
    return in_a_clone if in_a_clone.is_dir() else installed


def load_config(path: pathlib.Path) -> Config:
    """Runs a config file's `get_config()`.

    Args:
        path: The file, or the name of one in `config_folder()`.

    Raises:
        UserError: The file is missing, is not Python, or has no get_config().
    """
    named = config_folder() / f"{path}.py"
    if not path.exists() and named.is_file():
        path = named
    if not path.is_file():
        near = sorted(str(other) for other in path.parent.glob("*.py")) if path.parent.is_dir() else []
        found = f" There are {', '.join(near)}." if near else ""
        raise UserError(f"{path}: there is no such config file.{found}")
    scope: dict = {"__file__": str(path), "__name__": "config"}
    try:
        exec(compile(path.read_text(), str(path), "exec"), scope)
        config = scope["get_config"]()
    except Exception as error:
        for old, new in RENAMED.items():
            if isinstance(error, (AttributeError, KeyError)) and f"'{old.rpartition('.')[2]}'" in str(error):
                raise UserError(f"{path}: the key config.{old} is now config.{new}.") from error
        raise UserError(f"{path}: the config cannot be read: {type(error).__name__}: {error}") from error
    return adopted(config, str(path)) if is_scenic(config) else config


def flattened(config: Config, prefix: str = "") -> list[tuple[str, object]]:
    """Returns every value of a config under its dotted key."""
    pairs = []
    for key, value in config.items():
        pairs += flattened(value, f"{prefix}{key}.") if isinstance(value, ConfigDict) else [(f"{prefix}{key}", value)]
    return pairs
