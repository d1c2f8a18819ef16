"""What of a source is whose: an evaluation's processes agree on it before, and put theirs together after.

The journals of all processes may lie in one folder, which each of them has read, or each on a disk of its own. Both
come to the same: of what several have, one counts.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence

import msgpack

from jax_vtm.evaluation.batch_result import BatchResult
from jax_vtm.evaluation.journal import Journal, pack_result, unpack_result
from jax_vtm.evaluation.processes import Processes

# The videos of an outcome, read ones and failed ones.
_Videos = tuple[tuple[int, ...], tuple[int, ...]]


@dataclasses.dataclass(frozen=True)
class ResumeState:
    """How far an evaluation was when it was started; the same in all processes, but for `earlier`.

    Attributes:
        done: Numbers of the videos that have predictions.
        failed: Numbers of those that could not be read; they may have been repaired since.
        lost: Videos whose predictions were damaged.
        earlier: The outcomes that this process is to contribute, of those in its journal.
    """

    done: frozenset[int]
    failed: frozenset[int]
    lost: int
    earlier: Sequence[BatchResult]


def agree(processes: Processes, journal: Journal) -> ResumeState:
    """Finds out what is done already, before any process appends to its journal."""
    own = [_videos(outcome) for outcome in journal.outcomes]
    if not processes.is_first:
        processes.send("list of finished videos", [_packed([own, journal.lost])])
        done, failed, lost, kept = processes.from_first("standing", None)
        return ResumeState(
            frozenset(done), frozenset(failed), lost, [journal.outcomes[k] for k in kept[processes.index]]
        )
    sent = (b"".join(processes.receive("list of finished videos", k)) for k in range(1, processes.count))
    theirs = [msgpack.unpackb(message, use_list=False) for message in sent]
    journals = [tuple(own), *(videos for videos, _ in theirs)]
    kept = _kept_once(journals)
    videos = [journals[k][place] for k, places in enumerate(kept) for place in places]
    done = {index for read, _ in videos for index in read}
    failed = {index for _, failures in videos for index in failures} - done
    # Where they share a folder, all of them find the same damage.
    lost = max([journal.lost, *(lost for _, lost in theirs)])
    processes.from_first("standing", [sorted(done), sorted(failed), lost, kept])
    return ResumeState(frozenset(done), frozenset(failed), lost, [journal.outcomes[k] for k in kept[0]])


def gather_results(processes: Processes, outcomes: Sequence[BatchResult]) -> Iterator[BatchResult]:
    """Yields, in process 0, its outcomes and then those of every other process; in these nothing."""
    if not processes.is_first:
        processes.send("predictions", (pack_result(outcome) for outcome in outcomes))
        return
    received = (map(unpack_result, processes.receive("predictions", index)) for index in range(1, processes.count))
    yield from itertools.chain(outcomes, *received)


def _kept_once(journals: Sequence[Sequence[_Videos]]) -> list[list[int]]:
    """Chooses places in each journal so that no two outcomes have a video in common."""
    taken: set[int] = set()
    seen: set[_Videos] = set()
    kept = []
    for journal in journals:
        places = [place for place, videos in enumerate(journal) if videos not in seen and taken.isdisjoint(videos[0])]
        # Within one journal a video that failed may have been tried again.
        seen.update(journal[place] for place in places)
        taken.update(index for place in places for index in journal[place][0])
        kept.append(places)
    return kept


def _videos(outcome: BatchResult) -> _Videos:
    return tuple(outcome.indices.tolist()), tuple(outcome.failures)


def _packed(value: object) -> bytes:
    packed = msgpack.packb(value)
    assert packed is not None
    return packed
