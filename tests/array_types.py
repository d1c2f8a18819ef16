"""The type checker of the import hook that `conftest` installs."""

from beartype import BeartypeConf, beartype

# An int is a fine float, as in all of Python's own typing.
_checker = beartype(conf=BeartypeConf(is_pep484_tower=True))


def checked(function):
    """Checks a function's arguments and result; not a constructor's.

    Trees of arrays are also trees of shapes, of numpy arrays and of sharding specifications: `jax.tree.map` builds
    them through the same constructor.
    """
    return function if function.__name__ == "__init__" else _checker(function)
