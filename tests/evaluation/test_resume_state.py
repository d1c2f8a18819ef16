import concurrent.futures

import pytest
from memory_store import MemoryStore
from test_journal import FINGERPRINT, assert_same, outcome

from jax_vtm.errors import UserError
from jax_vtm.evaluation import Journal, Processes, agree, gather_results, processes


def in_processes(count, function):
    """Runs a function of `Processes` in so many at the same time; returns what each returns, and their store."""
    store = MemoryStore()
    with concurrent.futures.ThreadPoolExecutor(count) as threads:
        members = [Processes(300.0, lambda error: 1, store=store, index=k, count=count) for k in range(count)]
        return [future.result(30) for future in [threads.submit(function, member) for member in members]], store


def journal_of(folder, index, outcomes):
    with Journal(folder, FINGERPRINT, process_index=index) as journal:
        for each in outcomes:
            journal.append(each)


@pytest.mark.parametrize("shared", [True, False])
def test_every_video_counts_once_wherever_the_journals_lie(tmp_path, shared):
    folders = [tmp_path / "journal" if shared else tmp_path / str(k) for k in range(3)]
    before = [[outcome([0, 3], [6]), outcome([6])], [outcome([1], [4])], [outcome([2, 5])]]
    for k in (0, 1, 2):
        journal_of(folders[k], k, before[k])

    def evaluate(member):
        with member.first_before_others("journal"):
            journal = Journal(folders[member.index], FINGERPRINT, process_index=member.index)
        with journal:
            standing = agree(member, journal)
            mine = [*standing.earlier, outcome([10 + member.index])]
            return standing, list(gather_results(member, mine))

    (first, second, third), store = in_processes(3, evaluate)
    assert first[0].done == second[0].done == third[0].done == {0, 1, 2, 3, 5, 6}
    assert first[0].failed == second[0].failed == third[0].failed == {4}
    assert (second[1], third[1]) == ([], [])
    expected = [*before[0], *before[1], *before[2], outcome([10]), outcome([11]), outcome([12])]

    def by_videos(each):
        return each.indices.tolist(), list(each.failures)

    assert len(first[1]) == len(expected)
    for ours, theirs in zip(sorted(first[1], key=by_videos), sorted(expected, key=by_videos), strict=True):
        assert_same(ours, theirs)
    assert not [name for name in store.values if name.startswith("chunk/")], "what was read is gone"


def test_batches_that_overlap_are_not_both_kept(tmp_path):
    journal_of(tmp_path / "0", 0, [outcome([0, 1]), outcome([2, 3])])
    journal_of(tmp_path / "1", 1, [outcome([3, 5]), outcome([7, 9])])

    def standing(member):
        with Journal(tmp_path / str(member.index), FINGERPRINT, process_index=member.index) as journal:
            return agree(member, journal)

    (first, second), _ = in_processes(2, standing)
    assert first.done == second.done == {0, 1, 2, 3, 7, 9}, "5 has to be evaluated again"
    assert [each.indices.tolist() for each in second.earlier] == [[7, 9]]


@pytest.mark.parametrize("shared", [True, False])
def test_a_restart_sets_aside_once_what_is_shared(tmp_path, shared):
    folders = [tmp_path / "journal" if shared else tmp_path / str(k) / "journal" for k in range(2)]
    for k in (0, 1):
        journal_of(folders[k], k, [outcome([k])])
    with Journal(folders[0], FINGERPRINT, restart=True) as first:
        first.append(outcome([0]))
        with Journal(folders[1], FINGERPRINT, process_index=1, restart=True, begun_by=first.id) as second:
            assert second.done == ({0} if shared else set())
    with Journal(folders[0].with_name("journal.old"), FINGERPRINT) as old:
        assert old.done == ({0, 1} if shared else {0})
    if not shared:
        with Journal(folders[1].with_name("journal.old"), FINGERPRINT, process_index=1) as old:
            assert old.done == {1}


def test_the_first_process_notices_whoever_is_still_at_work(tmp_path):
    with (
        Journal(tmp_path / "journal", FINGERPRINT, process_index=2),
        pytest.raises(UserError, match=r"00002.bin: another process is evaluating into this folder"),
    ):
        Journal(tmp_path / "journal", FINGERPRINT)


def test_long_messages_travel_in_pieces_of_which_few_exist_at_a_time(monkeypatch):
    monkeypatch.setattr(processes, "_CHUNK_BYTES", 100)
    messages = [b"", b"a" * 99, b"b" * 100, b"c" * 101, bytes(range(256)) * 40]

    def exchange(member):
        if member.is_first:
            return [list(member.receive("letters", index)) for index in (1, 2)]
        return member.send("letters", messages)

    (received, *_), store = in_processes(3, exchange)
    assert received == [messages, messages]
    # Two chunks ahead from each of the two others, and one that is being read.
    assert store.most <= 2 * 3 * 101


def test_process_0_goes_first_and_says_what_holds_for_all(tmp_path):
    order = []

    def visit(member):
        with member.first_before_others("videos"):
            order.append(member.index)
        return member.from_first("number", 7 if member.is_first else None)

    assert in_processes(3, visit)[0] == [7, 7, 7]
    assert order[0] == 0
    assert sorted(order) == [0, 1, 2]
