"""Names of classes, and whether there are as many as there should be."""

from collections.abc import Mapping, Sequence

from jax_vtm.errors import UserError


def checked(
    class_names: Mapping[str, Sequence[str]] | None, num_classes: Mapping[str, int] | None
) -> dict[str, tuple[str, ...]]:
    """The given names by head, after a check that every head has as many as classes.

    Raises:
        UserError: There are more or fewer.
    """
    names = {head: tuple(given) for head, given in (class_names or {}).items()}
    for head, given in names.items():
        if num_classes and head in num_classes and len(given) != num_classes[head]:
            raise UserError(f"class names of {head!r}: found {len(given)}, expected {num_classes[head]}")
    return names


def check_all_there(names: Sequence[str], num_classes: int | None, where: str) -> None:
    """Checks names whose alphabetical order gives the classes their indices.

    Raises:
        UserError: There are more or fewer than classes.
    """
    if num_classes is not None and len(names) != num_classes:
        raise UserError(
            f"{where}: has {len(names)} classes, expected {num_classes}; an index is a class's place in the "
            "alphabetical order of all of them, so that all have to be there"
        )


def spaced(name: str) -> str:
    """A class's name with spaces for underscores, which many folders and lists have in their place."""
    return " ".join(name.replace("_", " ").split())
