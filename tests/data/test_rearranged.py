import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from jax_vtm.data import Rearranged, VideoItem, VideoSource, source_digest, spread_evenly


@dataclasses.dataclass
class Numbered:
    """Videos that are called by their numbers."""

    count: int
    heads: tuple[str, ...] = ("label",)
    class_names: dict = dataclasses.field(default_factory=dict)

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if not 0 <= index < self.count:
            raise IndexError(index)
        return VideoItem(str(index), b"", {"label": index % 3})


@given(st.lists(st.integers(0, 9), max_size=20))
def test_videos_come_in_the_order_that_is_given(order):
    source = Rearranged(Numbered(10), order)
    assert isinstance(source, VideoSource)
    assert [source[i].id for i in range(len(source))] == [str(index) for index in order]
    assert (source.heads, source.class_names) == (("label",), {})


@given(st.integers(1, 200).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n))))
def test_a_part_is_spread_evenly_and_each_video_comes_once(counts):
    total, count = counts
    order = spread_evenly(Numbered(total), count).order
    distances = [after - before for before, after in zip(order, [*order[1:], total], strict=True)]
    assert order[0] == 0
    assert len(order) == count
    assert min(distances) >= 1
    assert max(distances) - min(distances) <= 1


def test_the_digest_is_of_the_videos_and_their_order():
    digests = {source_digest(Rearranged(Numbered(n), order)) for n in (4, 5) for order in ([0, 1], [1, 0], [0])}
    assert len(digests) == 6
