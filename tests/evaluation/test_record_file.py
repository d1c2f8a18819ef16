import os
import resource

import pytest

from jax_vtm.evaluation.record_file import RecordWriter, read_records

RECORDS = [b"first", b"2", b"VTMJ looks like the mark", bytes(1000)]


def write(path, records):
    writer = RecordWriter(path)
    for record in records:
        writer.append(record)
    writer.close()
    return path.read_bytes()


def test_records_are_read_as_written(tmp_path):
    content = write(tmp_path / "a", RECORDS)
    found = read_records(tmp_path / "a")
    assert found.records == RECORDS
    assert (found.gaps, found.end) == ([], len(content))
    write(tmp_path / "a", [b"later"])
    assert read_records(tmp_path / "a").records == [*RECORDS, b"later"]
    (tmp_path / "empty").write_bytes(b"")
    assert read_records(tmp_path / "empty").records == []


def test_a_file_cut_anywhere_gives_the_records_before(tmp_path):
    content = write(tmp_path / "a", RECORDS)
    starts = [sum(12 + len(record) for record in RECORDS[:count]) for count in range(len(RECORDS) + 1)]
    for size in range(len(content)):
        (tmp_path / "a").write_bytes(content[:size])
        found = read_records(tmp_path / "a")
        whole = max(count for count, start in enumerate(starts) if start <= size)
        assert found.records == RECORDS[:whole]
        assert (found.gaps, found.end) == ([], starts[whole])
        writer = RecordWriter(tmp_path / "a")
        writer.cut(found.end)
        writer.append(b"next")
        writer.close()
        assert read_records(tmp_path / "a").records == [*RECORDS[:whole], b"next"]


def test_a_byte_changed_anywhere_costs_one_record_and_is_noticed(tmp_path):
    records = [b"first", b"second record", b"third", b"last"]
    content = write(tmp_path / "a", records)
    starts = [sum(12 + len(record) for record in records[:count]) for count in range(len(records) + 1)]
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 0x40
        (tmp_path / "a").write_bytes(damaged)
        hit = max(count for count, start in enumerate(starts) if start <= place)
        found = read_records(tmp_path / "a")
        assert found.records == records[:hit] + records[hit + 1 :]
        # Nothing follows the last record, so that losing it looks like an incomplete one.
        assert found.gaps == ([hit] if hit < len(records) - 1 else [])


def test_one_process_at_a_time(tmp_path):
    writer = RecordWriter(tmp_path / "a")
    with pytest.raises(BlockingIOError):
        RecordWriter(tmp_path / "a")
    writer.close()
    RecordWriter(tmp_path / "a").close()


def test_a_record_that_does_not_fit_leaves_the_others(tmp_path):
    writer = RecordWriter(tmp_path / "a")
    writer.append(b"before")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            writer.append(os.urandom(2 << 20))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / "a").stat().st_size == 12 + len(b"before")
    writer.append(b"after")
    writer.close()
    assert read_records(tmp_path / "a").records == [b"before", b"after"]
