"""Names in messages, and what is no regular file."""

import os
import socket

import pytest

from jax_vtm.data.source import VideoError
from jax_vtm.errors import UserError, shown
from jax_vtm.regular_file import check_regular_file, file_problem


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("plain name.mp4", "plain name.mp4"),
        ("Übung 日本語 हिन्दी.mp4", "Übung 日本語 हिन्दी.mp4"),
        ("\x1b[31mRED\x1b[0m\x07\r", "\\x1b[31mRED\\x1b[0m\\x07\\r"),
        ("two\nlines\u2028\x85\t", "two\\nlines\\u2028\\x85\\t"),
        ("gpj.\u202emp4\u2066\u200f", "gpj.\\u202emp4\\u2066\\u200f"),
        (os.fsdecode(b"bad\xff.mp4"), "bad\\xff.mp4"),
        ("\ud800\U000e0001", "\\ud800\\U000e0001"),
    ],
)
def test_names_are_shown_and_obeyed_by_nothing(name: str, text: str):
    assert shown(name) == text
    assert str(VideoError(name, f"cannot be read ({name})")) == f"video {text}: cannot be read ({text})"
    assert VideoError("a", name).reason == text


def test_messages_keep_their_own_lines_alone():
    assert str(UserError("two lines:\n  a\x1b[2J\r")) == "two lines:\n  a\\x1b[2J\\r"
    assert str(UserError(f"a {'b' * 5000}c: d")) == f"a {'b' * 200}...{'b' * 58}c: d"


def test_a_line_of_thousands_of_digits_keeps_its_beginning_and_its_end():
    message = str(UserError(f"labels.csv: line 2: {'9' * 5000} is not a class\nExpected an index."))
    first, second = message.split("\n")
    assert len(first) < 1600
    assert first.startswith("labels.csv: line 2: 999")
    assert first.endswith("999 is not a class")
    assert second == "Expected an index."


def test_what_is_no_regular_file_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
    os.symlink("/dev/zero", "zero")
    os.symlink("loop", "loop")
    os.symlink("nowhere", "link")
    open("file", "w").close()
    os.symlink("file", "good")
    problems = {
        "pipe": "is a named pipe, expected a regular file",
        "socket": "is a socket, expected a regular file",
        "zero": "is a device, expected a regular file",
        ".": "is a folder, expected a file",
        "loop": "cannot be read (Too many levels of symbolic links)",
        "link": "there is no such file",
        "file/below": "there is no such file",
        "x" * 5000: "cannot be read (File name too long)",
        "nul\0": "is no file's name (embedded null byte)",
    }
    assert {name: file_problem(name) for name in problems} == problems
    assert file_problem("good") is None
    assert file_problem("gs://bucket/file") is None
    with pytest.raises(UserError, match=r"^pipe: is a named pipe, expected a regular file$"):
        check_regular_file("pipe")
