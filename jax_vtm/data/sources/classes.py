"""The classes' names that a dataset and a model have to agree on."""

from collections.abc import Mapping, Sequence

from jax_vtm.errors import UserError


def checked_names(
    class_names: Mapping[str, Sequence[str]] | None, num_classes: Mapping[str, int] | None
) -> dict[str, tuple[str, ...]]:
    """The given names by head; raises `UserError` if a head has more or fewer than classes."""
    names = {head: tuple(given) for head, given in (class_names or {}).items()}
    for head, given in names.items():
        if num_classes and head in num_classes and len(given) != num_classes[head]:
            raise UserError(f"class names of {head!r}: found {len(given)}, expected {num_classes[head]}")
    return names


def check_all_there(names: Sequence[str], num_classes: int, where: str) -> None:
    """Raises `UserError` unless the names, whose alphabetical order gives the classes their indices, are all there."""
    if len(names) != num_classes:
        raise UserError(
            f"{where}: has {len(names)} classes, expected {num_classes}; an index is a class's place in the "
            "alphabetical order of all of them, so that all have to be there"
        )


def spaced(name: str) -> str:
    """A class's name with spaces for underscores, which many folders and lists have in their place."""
    return " ".join(name.replace("_", " ").split())
