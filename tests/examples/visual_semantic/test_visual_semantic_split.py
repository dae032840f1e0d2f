"""split_awa2.py: what is copied and moved, stopped, finished and taken back; what train.py makes of it."""

import errno
import os
import re
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest

from common import cli
from common.data.sets import awa2
from common.files import disk
from common.files.errors import UserError
from common.files.lock import Lock
from examples.visual_semantic import data, split_awa2

SCRIPT = str(Path(split_awa2.__file__))


def run(script, *arguments):
    command = [sys.executable, str(Path(SCRIPT).with_name(script)), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def split(*flags):
    """The program in this process."""
    split_awa2.main(split_awa2.parse_args([*map(str, flags)]))


def load(root, **flags):
    wanted = {"dataset": "awa2", "data_path": root, "unseen": None, "split": "standard", "valid_share": 0.1}
    return data.load(Namespace(**{**wanted, "seed": 123, **flags}))


def contents(root):
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("action", ["--copy", "--move"])
def test_the_split_is_by_the_lists_and_can_be_taken_back(animals, action):
    args = Namespace(dataset="awa2", data_path=animals, unseen=None, split="standard", valid_share=0.1, seed=123)
    before, plain = contents(animals), data.load(args)
    done = run("split_awa2.py", action, "--data-path", animals)
    assert done.returncode == 0, done.stderr
    parts = {part: sorted(p.name for p in (animals / part).rglob("*.jpg")) for part in ("train", "valid", "test")}
    assert [len(names) for names in parts.values()] == [30, 4, 5]  # 2 of 20, 1 of 10, the last of 4
    assert "ox_10004.jpg" in parts["valid"] and all(name.startswith("rat_") for name in parts["test"])
    assert len(list((animals / "JPEGImages").rglob("*.jpg"))) == (39 if action == "--copy" else 0)
    split = data.load(args)  # training finds the folders, and has the same parts as without them
    for name in ("train", "valid", "test"):
        files = [sorted(path.name for path in getattr(p, name).images) for p in (plain, split)]
        assert files[0] == files[1]
    assert set(split.seen) == set(plain.seen) and split.unseen == plain.unseen == ["rat"]
    again = run("split_awa2.py", action, "--data-path", animals)
    assert again.returncode == 2 and "split already" in again.stderr
    back = run("split_awa2.py", "--undo", "--data-path", animals)
    assert back.returncode == 0, back.stderr
    assert contents(animals) == before and not (animals / "train").exists()


def test_the_split_overwrites_and_loses_nothing(animals):
    target = animals / "train" / "ox" / "ox_10001.jpg"
    target.parent.mkdir(parents=True)
    target.write_bytes(b"mine")
    refused = run("split_awa2.py", "--move", "--data-path", animals)
    assert refused.returncode == 2 and "nothing is overwritten" in refused.stderr and target.read_bytes() == b"mine"
    target.unlink()
    assert run("split_awa2.py", "--copy", "--data-path", animals).returncode == 0
    original = animals / "JPEGImages" / "antelope" / "antelope_10001.jpg"
    original.unlink()
    refused = run("split_awa2.py", "--undo", "--data-path", animals)
    assert refused.returncode == 2 and "only copy" in refused.stderr
    assert len(list((animals / "train").rglob("*.jpg"))) == 30  # nothing was removed before it was found out


def test_a_split_that_was_stopped_half_way_is_undone(animals):
    before = contents(animals)
    assert run("split_awa2.py", "--move", "--data-path", animals).returncode == 0
    done = [line.split(",") for line in (animals / "split.csv").read_text().splitlines()[1:]]
    for _, source, target in done[5:]:  # as if it had stopped after five pictures
        Path(source).parent.mkdir(parents=True, exist_ok=True)
        os.replace(target, source)
    for leftover in (".antelope_10001.jpg", ".antelope_10001.jpg.12-34.jpg"):
        (animals / "train" / "antelope" / leftover).write_bytes(b"half")
    assert run("split_awa2.py", "--undo", "--data-path", animals).returncode == 0
    assert contents(animals) == before


class Killed(BaseException):
    """Nothing in the program catches it: what stands on the disk then is what a kill leaves."""


def stop_at(monkeypatch, owner, name, calls, after=False):
    """Kill the process at a call, before it does anything or after."""
    done, real = [], getattr(owner, name)

    def call(*args, **kwargs):
        done.append(args)
        if len(done) > calls and not after:
            raise Killed
        result = real(*args, **kwargs)
        if len(done) > calls:
            raise Killed
        return result

    monkeypatch.setattr(owner, name, call)


@pytest.fixture
def other_disk(animals, tmp_path, monkeypatch):
    """A folder to split into that no file can be renamed into from elsewhere."""
    target = tmp_path / "disk"

    def across(real):
        def rename(source, place, *args, **kwargs):
            if (target in Path(source).parents) != (target in Path(place).parents):
                raise OSError(errno.EXDEV, "Invalid cross-device link")
            return real(source, place, *args, **kwargs)

        return rename

    for name in ("rename", "replace"):
        monkeypatch.setattr(os, name, across(getattr(os, name)))
    return target


@pytest.mark.parametrize("action", ["copy", "move"])
def test_a_split_that_was_stopped_is_refused_and_can_be_finished(animals, tmp_path, monkeypatch, action):
    whole = load(animals)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        stop_at(patch, split_awa2, action, 25)
        split(f"--{action}", "--data-path", animals)
    with pytest.raises(UserError) as refused:
        load(animals)
    said = f"{animals}: 25 of the 39 pictures that split.csv lists are in train, valid and test: split_awa2.py --finish"
    assert str(refused.value).startswith(f"{said} --data-path {animals} brings the others")
    with pytest.raises(UserError, match="25 of the 39"):  # nor is it begun anew
        split(f"--{action}", "--data-path", animals)
    finish = re.search(r"split_awa2.py (--finish --data-path \S+)", str(refused.value))[1]
    split(*finish.split())
    parts = load(animals)
    for name in ("train", "valid", "test"):
        files_of = [sorted(path.name for path in getattr(found, name).images) for found in (parts, whole)]
        assert files_of[0] == files_of[1]
    assert len(list((animals / "JPEGImages").rglob("*.jpg"))) == (39 if action == "copy" else 0)


def test_a_whole_split_is_trained_on_wherever_it_lies(animals, tmp_path):
    split("--copy", "--data-path", animals)
    moved = animals.rename(tmp_path / "elsewhere")
    assert len(load(moved).train) == 30
    (moved / "train" / "ox" / "ox_10001.jpg").unlink()
    with pytest.raises(UserError, match="38 of the 39"):
        load(moved)


def test_to_another_disk_a_picture_is_copied_whole_before_its_source_goes(animals, other_disk):
    before = contents(animals)
    split("--move", "--data-path", animals, "--output", other_disk)
    moved = {path.name: path.read_bytes() for path in other_disk.rglob("*.jpg")}
    assert moved == {Path(name).name: content for name, content in before.items() if name.endswith("jpg")}
    assert not list((animals / "JPEGImages").rglob("*.jpg"))
    split("--undo", "--output", other_disk)
    assert contents(animals) == before and not list(other_disk.iterdir())


@pytest.mark.parametrize("end", ["--undo", "--finish"])
@pytest.mark.parametrize(("owner", "name", "after"), [
    ("shutil", "copy2", False), ("shutil", "copy2", True), ("files", "flush", True), ("path", "unlink", False),
])  # fmt: skip
def test_a_move_to_another_disk_may_be_killed_anywhere(animals, other_disk, monkeypatch, owner, name, after, end):
    import shutil

    before = contents(animals)
    pictures = {Path(name).name: content for name, content in before.items() if name.endswith("jpg")}
    where = {"shutil": shutil, "files": disk, "path": Path}[owner]
    with monkeypatch.context() as patch, pytest.raises(Killed):
        stop_at(patch, where, name, 9, after)
        split("--move", "--data-path", animals, "--output", other_disk)
    held = [path for root in (animals, other_disk) for path in root.rglob("[!.]*.jpg")]
    assert {path.name for path in held} == set(pictures)
    assert all(path.read_bytes() == pictures[path.name] for path in held)  # no half picture by a picture's name
    split(end, "--output", other_disk)
    left = {path.name: path.read_bytes() for path in (other_disk if end == "--finish" else animals).rglob("*.jpg")}
    assert left == pictures
    assert contents(animals) == before if end == "--undo" else not list((animals / "JPEGImages").rglob("*.jpg"))


@pytest.mark.parametrize("end", ["--undo", "--finish"])
def test_half_a_picture_at_the_target_never_costs_the_whole_one(animals, end):
    """What a move by shutil to another disk left when it was killed."""
    before = contents(animals)
    split("--move", "--data-path", animals)
    rows = split_awa2.listed(animals)
    _, source, place = rows[3]
    picture = place.read_bytes()
    source.write_bytes(picture)
    place.write_bytes(picture[: len(picture) // 2])
    split(end, "--data-path", animals)
    assert (source if end == "--undo" else place).read_bytes() == picture
    assert contents(animals) == before if end == "--undo" else not source.exists()


def test_pictures_that_differ_are_left_to_the_user(animals):
    split("--copy", "--data-path", animals)
    _, source, place = split_awa2.listed(animals)[0]
    whole = source.read_bytes()
    source.write_bytes(whole[:50])  # now the copy is the only whole one
    for action in ("--undo", "--finish"):
        with pytest.raises(UserError, match=f"{source} and {place} differ and nothing is removed"):
            split(action, "--data-path", animals)
    assert place.read_bytes() == whole and len(list((animals / "train").rglob("*.jpg"))) == 30


def test_a_picture_that_is_nowhere_is_named(animals):
    split("--move", "--data-path", animals)
    _, source, place = split_awa2.listed(animals)[0]
    place.unlink()
    with pytest.raises(UserError, match=f"neither {source} nor {place} is there: .* take its line out of split.csv"):
        split("--finish", "--data-path", animals)


def test_undo_leaves_files_that_it_did_not_make(animals):
    split("--copy", "--data-path", animals)
    mine = animals / "train" / "ox" / ".notes"
    mine.write_text("mine")
    split("--undo", "--data-path", animals)
    assert mine.read_text() == "mine" and not (animals / "valid").exists()


def test_one_process_at_a_time(animals):
    split("--copy", "--data-path", animals)
    with Lock(animals / "split.csv"), pytest.raises(UserError, match="another split_awa2.py is at work"):
        split("--undo", "--data-path", animals)


def test_a_stopped_split_names_its_own_commands(animals, monkeypatch, capsys):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(split_awa2, "copy", stop)
    with pytest.raises(SystemExit) as ended:
        cli.launch(split_awa2.main, lambda: split_awa2.parse_args(["--copy", "--data-path", str(animals)]))
    said = capsys.readouterr().err
    assert ended.value.code == 130 and "split_awa2.py --finish" in said and "--resume" not in said


@pytest.fixture
def sample(animals):
    """A few pictures of AwA2 with its own lists, which name all fifty classes."""
    (animals / "classes.txt").write_text("".join(f"{i:>8}\t{name}\n" for i, name in enumerate(awa2.CLASSES, 1)))
    (animals / "trainclasses.txt").write_text("\n".join(n for n in awa2.CLASSES if n not in awa2.STANDARD))
    (animals / "testclasses.txt").write_text("\n".join(awa2.STANDARD))
    return animals


SAID = "a subset of AwA2: 4 of its 50 classes, 39 pictures where it has 37,322"


def test_a_subset_in_the_official_layout_is_taken_and_named(sample, capsys):
    args = Namespace(dataset="awa2")
    parts = load(sample)
    assert parts.seen == ["antelope", "ox", "polar+bear"] and parts.unseen == ["rat"]
    assert data.remark(args, parts) == SAID
    split("--copy", "--data-path", sample, "--split", "proposed")
    assert SAID in capsys.readouterr().out
    tree = load(sample, split="proposed")
    assert (len(tree.train), len(tree.valid), len(tree.test)) == (30, 4, 5) and data.remark(args, tree) == SAID


def test_a_subset_without_an_unseen_class(sample):
    for path in (sample / "JPEGImages" / "rat").iterdir():
        path.unlink()
    assert load(sample).unseen == []
    for name in ("ox", "antelope"):
        for path in (sample / "JPEGImages" / name).iterdir():
            path.rename(sample / path.name)
    with pytest.raises(UserError, match="two are needed"):
        load(sample)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_absent_data_names_a_remedy_that_this_program_has(tmp_path, name):
    with pytest.raises(UserError) as refused:
        load(tmp_path / "none", dataset=name)
    assert f"./get_data.sh {name}" in str(refused.value) and "glyphs" not in str(refused.value)
