"""Files appear whole or not at all; a folder has one writer."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from common.files import disk
from common.files.checksum import sha256
from common.files.disk import atomic, place, write_array, write_json, write_text
from common.files.errors import UserError
from common.files.lock import Lock, only_writer
from common.files.paths import REPO


def test_files_are_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    write_json(path, {"text": "é"})
    assert path.read_text(encoding="utf-8") == '{\n  "text": "é"\n}\n'
    with monkeypatch.context() as patch:
        patch.setattr(disk.os, "fsync", lambda handle: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(UserError, match="cannot write .*a.json: No space left on device; free some space"):
            write_text(path, "half")
    assert json.loads(path.read_text(encoding="utf-8")) == {"text": "é"}
    assert os.listdir(tmp_path) == ["a.json"]


def test_an_interrupted_writing_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt), atomic(tmp_path / "a.npy") as beside:
        assert beside.suffix == ".npy" and beside.parent == tmp_path
        beside.write_text("half")
        raise KeyboardInterrupt
    assert not os.listdir(tmp_path)


def test_what_the_system_refuses_is_one_line(tmp_path):
    with pytest.raises(UserError, match="File name too long"):
        write_text(tmp_path / ("a" * 400), "")
    with pytest.raises(UserError, match="No such file or directory"):
        write_text(tmp_path / "no folder" / "a", "")
    assert not os.listdir(tmp_path)


def test_a_place_is_asked_for_before_the_work(tmp_path, monkeypatch):
    assert place(tmp_path / "a", "--output") == tmp_path / "a"
    with pytest.raises(UserError, match="--output .*/gone/a: its folder does not exist"):
        place(tmp_path / "gone" / "a", "--output")
    monkeypatch.setattr(disk.os, "access", lambda folder, how: (folder, how) != (tmp_path.resolve(), os.W_OK))
    with pytest.raises(UserError, match="--output .*/a: its folder cannot be written to"):
        place(tmp_path / "a", "--output")


def test_sha256(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_lock_is_taken_once_and_ends_with_its_process(tmp_path):
    path = tmp_path / ".lock"
    code = f"from common.files.lock import Lock; print(Lock({str(path)!r}).take())"

    def other():
        return subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True).stdout.strip()

    assert other() == "True"  # and it let go by ending
    with Lock(path):
        assert other() == "False"
    assert other() == "True"


def test_a_folder_has_one_writing_process(tmp_path):
    code = f"from common.files.lock import only_writer; only_writer({str(tmp_path)!r}, 'another name')"

    def other():
        return subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True).stderr

    mine = [only_writer(tmp_path), only_writer(tmp_path / "x" / "..")]  # one lock
    assert mine[0] is mine[1]
    assert "is written by another process now: wait for its end, or give another name" in other()
    mine.clear()
    assert other() == ""


def test_an_array_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    write_array(tmp_path / "a.npy", np.arange(3))
    monkeypatch.setattr(disk.os, "fsync", lambda handle: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(UserError, match="cannot write .*a.npy: No space left"):
        write_array(tmp_path / "a.npy", np.arange(9))
    assert os.listdir(tmp_path) == ["a.npy"] and len(np.load(tmp_path / "a.npy")) == 3
