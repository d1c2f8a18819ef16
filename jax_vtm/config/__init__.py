"""Configs: keys and defaults, config files (ours and Scenic's), command-line flags. Needs no JAX."""

from jax_vtm.config.defaults import KEYS, SECTIONS, Config, default_config
from jax_vtm.config.files import config_folder, flattened, load_config
from jax_vtm.config.flags import config_file, read_flags
from jax_vtm.config.workdir import default_workdir, prediction_settings

__all__ = [
    "KEYS",
    "SECTIONS",
    "Config",
    "config_file",
    "config_folder",
    "default_config",
    "default_workdir",
    "flattened",
    "load_config",
    "prediction_settings",
    "read_flags",
]
