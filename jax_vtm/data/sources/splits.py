"""The names that the parts of a dataset go by."""

_SPELLINGS = (("train", "training"), ("validation", "val", "validate"), ("test", "testing"))


def spellings(split: str) -> tuple[str, ...]:
    """All names of a part, such as "val" and "validate" for "validation"; just the given one if it is unknown."""
    return next((names for names in _SPELLINGS if split in names), (split,))
