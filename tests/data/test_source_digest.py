from jax_vtm.data import VideoError, VideoItem, source_digest


class Listed:
    """A source of (id, labels); None for one that cannot be read."""

    heads = ("label",)
    class_names = {}  # noqa: RUF012

    def __init__(self, *entries):
        self.entries = entries

    def __len__(self):
        return len(self.entries)

    def __getitem__(self, index):
        if self.entries[index] is None:
            raise VideoError(f"record {index}", "its checksum is wrong")
        return VideoItem(self.entries[index][0], b"", {"label": self.entries[index][1]})


def test_ids_their_order_and_labels_count():
    digests = [
        source_digest(Listed(*entries))
        for entries in (
            [("a", 0), ("b", 1)],
            [("b", 1), ("a", 0)],
            [("a", 0), ("b", 0)],
            [("a", 0), ("c", 1)],
            [("a", 0)],
            [("a", 0), None],
        )
    ]
    assert len(set(digests)) == len(digests)
    assert source_digest(Listed(("a", 0), ("b", 1))) == digests[0]
    assert len(digests[0]) == 64


def test_a_source_that_knows_its_digest_is_not_read():
    class Known(Listed):
        def digest(self):
            return "abc"

        def __getitem__(self, index):
            raise AssertionError("it was read")

    assert source_digest(Known(("a", 0))) == "abc"
