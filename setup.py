"""What pyproject.toml cannot say: the configs, which lie next to the package, come into it when it is installed."""

from setuptools import find_packages, setup

setup(packages=[*find_packages(include=["jax_vtm*"]), "jax_vtm.configs"], package_dir={"jax_vtm.configs": "configs"})
