"""Config files: Python files with a `get_config()`."""

import difflib
import pathlib

from ml_collections import ConfigDict

from jax_vtm.bucket import is_bucket
from jax_vtm.config.defaults import RENAMED, Config
from jax_vtm.config.scenic import adopted, is_scenic
from jax_vtm.errors import UserError, shown
from jax_vtm.files import AnyPath


def config_folder() -> pathlib.Path:
    """Returns the folder of the shipped configs: in the package or, in a clone, next to it."""
    package = pathlib.Path(__file__).parents[1]
    installed = package / "configs"
    return installed if installed.is_dir() else package.with_name("configs")


def _found(path: AnyPath) -> AnyPath:
    """Returns a config file, or the shipped one of this name."""
    if path.exists() if is_bucket(path) else path.is_file():
        return path
    shipped = {file.stem: file for file in sorted(config_folder().glob("*.py"))}
    if str(path) in shipped:
        return shipped[str(path)]
    close = difflib.get_close_matches(path.stem, shipped, n=1)
    hint = f" Did you mean --config={close[0]}?" if close else ""
    raise UserError(f"{path}: there is no such config file.{hint} By name there are {', '.join(shipped)}.")


def load_config(path: AnyPath) -> Config:
    """Runs `get_config()` of a config file, given by path or by its name in `config_folder()`.

    Raises:
        UserError: The file is missing, is not Python, or has no get_config().
    """
    path = _found(path)
    scope: dict = {"__file__": str(path), "__name__": "config"}
    try:
        exec(compile(path.read_text(), str(path), "exec"), scope)
        config = scope["get_config"]()
        old_keys = [key for key, _ in flattened(config) if key in RENAMED]
    except SyntaxError as error:
        raise UserError(
            f"{path}: the config cannot be read: line {error.lineno} is not Python ({error.msg}): "
            f"{shown((error.text or '').strip())}\nMend it or, if it is a note, put a # in front of it."
        ) from error
    except Exception as error:
        missing = isinstance(error, (AttributeError, KeyError))
        old_keys = [old for old in RENAMED if missing and f"'{old.rpartition('.')[2]}'" in str(error)]
        if not old_keys:
            raise UserError(f"{path}: the config cannot be read: {type(error).__name__}: {error}") from error
    if old_keys:
        raise UserError(f"{path}: the key config.{old_keys[0]} is now config.{RENAMED[old_keys[0]]}.")
    return adopted(config, str(path)) if is_scenic(config) else config


def flattened(config: Config, prefix: str = "") -> list[tuple[str, object]]:
    """Returns (dotted key, value) of all values of a config."""
    pairs = []
    for key, value in config.items():
        pairs += flattened(value, f"{prefix}{key}.") if isinstance(value, ConfigDict) else [(f"{prefix}{key}", value)]
    return pairs
