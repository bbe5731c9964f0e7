# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Result files: whole or not at all, and said at once when they cannot be."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from superpoint_ros.files import check_file, check_folder, replaced, write_json, write_text


def test_json_is_whole_and_without_nan(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.json"
    write_json(path, {"a": float("nan"), "b": [1.5, float("inf")], "c": {"d": (2,)}})
    assert json.loads(path.read_text()) == {"a": None, "b": [1.5, None], "c": {"d": [2]}}
    assert [file.name for file in path.parent.iterdir()] == ["a.json"]


def test_a_failure_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write_and_fail() -> None:
        with replaced(path) as temporary:
            temporary.write_text("half of the ne")
            raise InterruptedError

    with pytest.raises(InterruptedError):
        write_and_fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_next_writer_clears_away_what_a_killed_one_left(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    path.write_text("old")
    code = (
        "import os, signal, sys; from superpoint_ros.files import replaced\n"
        "with replaced(sys.argv[1]) as temporary:\n"
        "    temporary.write_text('half of a much longer text')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)"
    )
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
        assert done.returncode == -signal.SIGKILL
    assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 2  # one, however often it was killed
    write_text(path, "new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_two_that_write_one_file_write_it_whole_one_after_the_other(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    texts = [letter * 200_000 for letter in "abcd"]

    def write_often(text: str) -> None:
        for _ in range(50):
            with replaced(path) as temporary, temporary.open("w") as stream:
                for at in range(0, len(text), 50_000):
                    stream.write(text[at : at + 50_000])
                    stream.flush()

    with ThreadPoolExecutor(len(texts)) as pool:
        writers = [pool.submit(write_often, text) for text in texts]
        seen = set()
        while not all(writer.done() for writer in writers):
            if path.is_file():
                seen.add(path.read_text())
        for writer in writers:
            writer.result()
    assert seen <= set(texts)
    assert path.read_text() in texts
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_stays_and_its_target_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    target, link = tmp_path / "store" / "blob", tmp_path / "a.png"
    target.write_text("old")
    link.symlink_to(target)
    with replaced(link) as temporary:
        assert temporary.suffix == ".png"  # tells OpenCV and matplotlib the format
        temporary.write_text("new")
    assert link.is_symlink()
    assert target.read_text() == "new"
    target.unlink()
    write_text(link, "again")  # a link to nothing yet
    assert target.read_text() == "again"
    assert sorted(tmp_path.rglob("*")) == [link, target.parent, target]


def test_a_pipe_is_written_to_and_stays(tmp_path: Path) -> None:
    pipe, link = tmp_path / "pipe", tmp_path / "link.json"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    reader = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
    for path in (pipe, link):
        check_file(path)
        write_json(path, {"a": 1})
        assert json.loads(os.read(reader, 1000)) == {"a": 1}
    os.close(reader)
    assert pipe.is_fifo()
    assert link.is_symlink()
    assert sorted(tmp_path.iterdir()) == [link, pipe]


def test_a_file_that_a_handle_leads_to_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_text("old")
    with path.open("a") as stream:  # as `superpoint ... --json /dev/stdout >> log.txt`
        with pytest.raises(OSError, match=r"is open: name that file itself"):
            check_file(f"/dev/fd/{stream.fileno()}")
        with pytest.raises(OSError, match=r"is open: name"):
            write_text(f"/proc/self/fd/{stream.fileno()}", "new")
    with pytest.raises(OSError, match="name /dev/stdout"):
        check_file("-")
    assert path.read_text() == "old"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_names_the_file() -> None:
    with pytest.raises(OSError, match="/dev/full"):
        write_json("/dev/full", {"a": 1})


def test_what_is_in_the_way_is_named(tmp_path: Path) -> None:
    file = tmp_path / "photo.png"
    file.write_text("")
    check_file(file)
    check_file(tmp_path / "a" / "b" / "c.json")
    check_folder(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == [file]  # looking makes nothing
    with pytest.raises(IsADirectoryError, match=f"name a file: '{tmp_path}'"):
        check_file(tmp_path)
    for check, path in ((check_folder, file), (check_file, file / "a.json")):
        with pytest.raises(NotADirectoryError, match=f"is a file, not a folder: '{file}'"):
            check(path)
    with pytest.raises(IsADirectoryError, match=f"'{tmp_path}'"), replaced(tmp_path):
        pass


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_the_umask_says_who_may_read(umask: int, mode: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        write_text(tmp_path / "a.txt", "of mine")
    finally:
        os.umask(before)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == mode


def test_a_name_that_is_no_utf_8_can_be_written(tmp_path: Path) -> None:
    write_text(tmp_path / "a.html", os.fsdecode(b"caf\xe9.mcap, \xc3\xa9"))
    assert (tmp_path / "a.html").read_bytes() == b"caf\\udce9.mcap, \xc3\xa9"
