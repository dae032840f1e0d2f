"""Every file in a folder of pictures is a picture or is left out for a reason that is said."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from common.data import images, sets, walk
from common.data.sets import folder
from common.files.errors import UserError
from common.files.paths import REPO


def picture(path, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((6, 8, 3), 90, np.uint8)).save(path, **options)
    return path


@pytest.fixture
def mixed(tmp_path):
    """Two classes, and beside their pictures what people's folders hold."""
    root = tmp_path / "my pictures"
    for name in ("cat/1.jpg", "cat/été.png", "cat/two words.webp", "狗/1.JPG", "狗/a\nb.jpg"):
        picture(root / name)
    picture(root / "狗" / "new.avif")
    picture(root / "狗" / "old.jfif", format="JPEG")
    picture(root / "cat" / "deep" / "er" / "9.jpg")
    for name in ("cat/._1.jpg", ".DS_Store", "cat/.hidden.jpg", ".thumbnails/x.jpg", "__MACOSX/cat/1.jpg",
                 "cat/Thumbs.db", "狗/phone.heic", "empty/readme.txt", "stray.jpg"):  # fmt: skip
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    (root / "cat" / "gone.jpg").symlink_to("nowhere.jpg")
    (root / "cat" / "up").symlink_to(root)
    (root / "loop").symlink_to(root)
    (root / "狗" / "self").symlink_to("self")
    (root / "cat" / "folder.jpg").mkdir()
    os.mkfifo(root / "cat" / "pipe.jpg")
    return root


def test_what_a_folder_of_classes_holds_is_said_in_one_line(mixed):
    said = []
    whole = folder.load(mixed, say=said.append).images
    assert whole.class_names == ["cat", "狗"]
    assert [path.name for path in whole.images] == [
        "1.jpg", "9.jpg", "two words.webp", "été.png", "1.JPG", "a\nb.jpg", "new.avif", "old.jfif"
    ]  # fmt: skip
    for index in range(len(whole)):
        assert whole.read(index).shape == (6, 8, 3)
    (line,) = said
    assert line.startswith(
        f"{mixed}: 8 pictures of 2 classes; a class is the first folder on the way down that holds pictures"
        " (--class-depth), such as cat; 1 pictures lie deeper in the folder of their class; 15 skipped: "
    )
    assert "\n" not in line
    for part in (
        f"3 {walk.HIDDEN} (.DS_Store, .thumbnails, cat/.hidden.jpg)", f"2 {walk.BESIDE} (__MACOSX, cat/._1.jpg)",
        f"2 {walk.OTHER} (cat/Thumbs.db, empty/readme.txt)", f"1 {walk.UNREADABLE} (狗/phone.heic)",
        f"1 {walk.OUTSIDE} (stray.jpg)", f"1 {walk.EMPTY} (empty)",
        f"1 {walk.SPECIAL} (cat/pipe.jpg)", f"4 {walk.LINK} (cat/gone.jpg, cat/up, loop, ...)",
    ):  # fmt: skip
        assert part in line, part
    assert len(whole.skipped) == 15


def test_a_list_of_pictures_leaves_the_same_out(mixed, capsys):
    found = images.find([str(mixed)])
    assert len(found) == 9 and {"stray.jpg", "9.jpg"} <= {path.name for path in found}  # of a gallery all are read
    error = capsys.readouterr().err
    assert error.startswith(f"note: {mixed}: ") and error.count("\n") == 1
    for reason in (walk.HIDDEN, walk.BESIDE, walk.OTHER, walk.UNREADABLE, walk.LINK, walk.SPECIAL):
        assert reason in error


def test_a_folder_with_nothing_else_says_so(tmp_path, capsys):
    for name in ("a/1.png", "b/1.png"):
        picture(tmp_path / name)
    folder.load(tmp_path)
    assert capsys.readouterr().out == f"{tmp_path}: 2 pictures of 2 classes; nothing skipped\n"
    assert len(images.find([str(tmp_path)])) == 2 and not capsys.readouterr().err


def test_links_between_folders_end(tmp_path):
    for name in "abcdefgh":
        picture(tmp_path / name / "1.png")
        for other in "abcdefgh":
            (tmp_path / name / f"to_{other}").symlink_to(tmp_path / other)
    assert len(list(walk.walk(tmp_path, []))) == 8
    whole = folder.load(tmp_path, say=lambda line: None).images
    assert whole.class_names == list("abcdefgh") and [path.parent.name for path in whole.images] == list("abcdefgh")


def test_a_linked_class_folder_is_a_class(tmp_path):
    picture(tmp_path / "root" / "a" / "1.png")
    picture(tmp_path / "elsewhere" / "1.png")
    (tmp_path / "root" / "b").symlink_to(tmp_path / "elsewhere")
    assert folder.load(tmp_path / "root").images.class_names == ["a", "b"]


def test_a_link_to_a_folder_that_is_read_is_not_another_class(tmp_path):
    picture(tmp_path / "root" / "x" / "y" / "1.png")
    picture(tmp_path / "root" / ".kept" / "1.png")
    (tmp_path / "root" / "a").symlink_to(tmp_path / "root" / "x" / "y")
    (tmp_path / "root" / "b").symlink_to(".kept")
    skipped: list = []
    found = list(walk.walk(tmp_path / "root", skipped))
    assert [str(path.relative_to(tmp_path / "root")) for path in found] == ["b/1.png", "x/y/1.png"]
    assert (tmp_path / "root" / "a", walk.LINK) in skipped


def test_where_no_class_is_found_the_line_says_what_is_there(tmp_path):
    for name in ("1.png", "2.png", "readme.txt"):
        picture(tmp_path / name, format="PNG")
    with pytest.raises(UserError, match=r"holds 0 class folders .*2 pictures in no class's folder: move them into one"):
        folder.load(tmp_path)


@pytest.mark.skipif(not shutil.which("setpriv") or os.getuid() != 0, reason="takes root to become somebody else")
@pytest.mark.parametrize("mode", [0o000, 0o444])
def test_a_folder_that_may_not_be_opened_is_left_out(tmp_path, mode):
    for name in ("a/1.png", "b/1.png", "locked/1.png"):
        picture(tmp_path / name)
    for place in (tmp_path, *tmp_path.parents):
        if place.owner() == "root" and place != place.parent and place.stat().st_mode & 0o5 != 0o5:
            place.chmod(place.stat().st_mode | 0o5)
    (tmp_path / "locked").chmod(mode)
    program = f"from common.data.sets import folder; print(len(folder.load({str(tmp_path)!r}).images))"
    told = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", sys.executable, "-c", program],
        capture_output=True, text=True, cwd=REPO, check=True,
    ).stdout.splitlines()  # fmt: skip
    assert told[1] == "2" and f"1 skipped: 1 {walk.LOCKED} (locked" in told[0]


def test_names_that_are_no_text_are_named(tmp_path):
    for name in ("a/1.png", "b/1.png"):
        picture(tmp_path / name)
    try:
        (tmp_path / "a" / os.fsdecode(b"\xff.png")).write_bytes(b"x")
    except OSError:
        pytest.skip("the file system takes UTF-8 alone")
    said = []
    assert len(folder.load(tmp_path, say=said.append).images) == 2
    assert f"1 {walk.NAME} (a/\\udcff.png)" in said[0]


def test_pictures_that_cannot_be_read_stop_or_are_left_out(tmp_path):
    for label in "abcd":
        for number in (1, 2, 3):
            picture(tmp_path / label / f"{number}.png")
    bad, cut = tmp_path / "a" / "2.png", tmp_path / "c" / "3.png"
    bad.write_bytes(b"x")
    cut.write_bytes(cut.read_bytes()[:40])
    for number in (1, 2, 3):
        (tmp_path / "b" / f"{number}.png").write_bytes(b"")
    with pytest.raises(UserError, match="2.png is not a picture"):
        folder.load(tmp_path).images.array(8)
    said = []
    data = folder.load(tmp_path, "skip", said.append).images
    assert data.class_names == ["a", "c", "d"] and data.array(8).shape == (7, 8, 8, 3)
    assert not {bad, cut} & set(data.images)
    assert [path.parent.name for path in data.images] == [data.class_names[label] for label in data.labels]
    assert said[1] == f"5 skipped: 5 {walk.BROKEN} (a/2.png, b/1.png, b/2.png, ...)"
    walk.write(data.skipped, tmp_path / "skipped.txt")
    lines = (tmp_path / "skipped.txt").read_text().splitlines()
    assert f"{walk.BROKEN}\t{bad}" in lines and len(lines) == 5


def test_other_sets_of_files_leave_out_what_cannot_be_read(tmp_path):
    for alphabet in ("x", "y", "z", "w"):
        for number in range(1, 7):
            picture(tmp_path / alphabet / "character1" / f"0001_{number:02d}.png")
    (tmp_path / "x" / "character1" / "0001_02.png").write_bytes(b"x")
    said = []
    data = sets.load("omniglot", tmp_path, unseen=["x", "y"], on_error="skip", say=said.append)
    assert (len(data.train), len(data.test)) == (12, 11) and f"1 {walk.BROKEN}" in said[0]


def test_a_gallery_goes_on_without_what_cannot_be_read(tmp_path, capsys):
    good, bad = picture(tmp_path / "1.png"), tmp_path / "2.png"
    bad.write_bytes(b"x")
    assert images.readable([good, bad], "stop") == [good, bad]
    assert images.readable([good, bad], "skip") == [good]
    assert f"note: skipped: {bad} is not a picture" in capsys.readouterr().err
    with pytest.raises(UserError, match="none of 1 pictures can be read"):
        images.readable([bad], "skip")


def test_an_error_about_a_strange_name_is_one_line(tmp_path):
    bad = tmp_path / "a\nb.png"
    bad.write_bytes(b"x")
    with pytest.raises(UserError, match=r"a\\nb.png is not a picture") as error:
        images.read(bad)
    assert "\n" not in str(error.value)
