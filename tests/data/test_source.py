import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from jax_vtm.data import Rearranged, VideoError, VideoItem, VideoSource, source_digest, spread_evenly


@dataclasses.dataclass
class Listed:
    """A source of (id, label); None for a video that cannot be read."""

    entries: list
    heads: tuple[str, ...] = ("label",)
    class_names: dict = dataclasses.field(default_factory=dict)

    def __len__(self):
        return len(self.entries)

    def __getitem__(self, index):
        if self.entries[index] is None:
            raise VideoError(f"record {index}", "its checksum is wrong")
        name, label = self.entries[index]
        return VideoItem(name, b"", {"label": label})


class Known(Listed):
    def digest(self):
        return "abc"

    def __getitem__(self, index):
        raise AssertionError("it was read")


def numbered(count):
    return Listed([(str(number), number % 3) for number in range(count)])


def test_a_digest_is_of_ids_their_order_and_labels():
    lists = [
        [("a", 0), ("b", 1)], [("b", 1), ("a", 0)], [("a", 0), ("b", 0)], [("a", 0), ("c", 1)], [("a", 0)],
        [("a", 0), None],
    ]  # fmt: skip
    digests = [source_digest(Listed(entries)) for entries in lists]
    digests += [source_digest(Rearranged(numbered(n), order)) for n in (4, 5) for order in ([0, 1], [1, 0], [0])]
    assert len(set(digests)) == len(digests)
    assert source_digest(Listed([("a", 0), ("b", 1)])) == digests[0]
    assert len(digests[0]) == 64
    assert source_digest(Known([("a", 0)])) == "abc"


@given(st.lists(st.integers(0, 9), max_size=20))
def test_videos_come_in_the_order_that_is_given(order):
    source = Rearranged(numbered(10), order)
    assert isinstance(source, VideoSource)
    assert [source[i].id for i in range(len(source))] == [str(index) for index in order]
    assert (source.heads, source.class_names) == (("label",), {})


@given(st.integers(1, 200).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n))))
def test_a_part_is_spread_evenly_and_each_video_comes_once(counts):
    total, count = counts
    order = spread_evenly(numbered(total), count).order
    distances = [after - before for before, after in zip(order, [*order[1:], total], strict=True)]
    assert (order[0], len(order)) == (0, count)
    assert 1 <= min(distances) <= max(distances) <= min(distances) + 1
