"""Configs: what every key is and is by default, config files of ours, and Scenic's as ours. Nothing here needs JAX."""

from jax_vtm.config.defaults import Config, default_config
from jax_vtm.config.files import flattened, load_config
from jax_vtm.config.flags import config_file, read_flags

__all__ = ["Config", "config_file", "default_config", "flattened", "load_config", "read_flags"]
