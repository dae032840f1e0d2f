"""A tree of files from an archive or a folder, verified as a whole, there as a whole or not at all."""

import os
import subprocess
import sys
import tarfile
import zipfile

import pytest

from common.files import fetch, tree
from common.files.errors import UserError
from common.files.paths import REPO, data_dir
from common.files.sources import SOURCES, Source, Tree

FILES = {"LICENSE": "MIT", "dataset/classes.csv": "a,b", "dataset/train/a b.jpg": "pixels"}
ADDRESS = "http://127.0.0.1:9/COMMIT.tar.gz"  # nobody answers


@pytest.fixture
def published(tmp_path):
    """An unpacked folder, with a file that does not belong to the tree."""
    root = tmp_path / "published"
    for name, text in {**FILES, "README.md": "read me"}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.fixture
def source(published, monkeypatch):
    monkeypatch.setattr(fetch, "RETRIES", 1)
    names = ("LICENSE", "dataset")
    count, total = tree.digest(published, names)
    assert count == 3
    return Source(((ADDRESS, "", ""),), "tiny", "1 MB", "MIT", "dataset/classes.csv", tree=Tree(names, count, total))


def pack(root, file, top=""):
    """As a host packs it, with a folder `top`, or as ``git archive`` does."""
    with tarfile.open(file, "w:gz") as archive:
        for child in sorted(root.iterdir()):
            archive.add(child, f"{top}{child.name}")
    return file


def landed(folder):
    return {p.relative_to(folder).as_posix(): p.read_text() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("top", ["", "Repository-COMMIT/"])
def test_an_archive_from_a_folder_or_by_its_own_name(published, source, tmp_path, top):
    (tmp_path / "mirror").mkdir()
    for number, mirror in enumerate([tmp_path / "mirror", tmp_path / "any.name"]):
        file = mirror / "COMMIT.tar.gz" if mirror.is_dir() else mirror
        pack(published, file, top)
        folder = fetch.ensure("tiny", source, tmp_path / str(number), str(mirror))
        assert landed(folder) == FILES and sorted(os.listdir(folder)) == ["LICENSE", "dataset"]
        assert file.is_file()  # the user's own stays


def test_an_unpacked_folder_and_a_zip(published, source, tmp_path):
    assert landed(fetch.ensure("tiny", source, tmp_path / "a", str(published))) == FILES
    assert (published / "dataset" / "classes.csv").is_file()
    (tmp_path / "outer").mkdir()
    published.rename(tmp_path / "outer" / "Repository-COMMIT")
    assert landed(fetch.ensure("tiny", source, tmp_path / "b", str(tmp_path / "outer"))) == FILES
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name, text in FILES.items():
            archive.writestr(f"Repository-COMMIT/{name}", text)
    assert landed(fetch.ensure("tiny", source, tmp_path / "c", str(tmp_path / "x.zip"))) == FILES


def test_what_a_killed_call_left_is_replaced(published, source, tmp_path):
    (tmp_path / "out" / "dataset" / "train").mkdir(parents=True)
    (tmp_path / "out" / "dataset" / "train" / "old.jpg").write_text("old")
    (tmp_path / "out" / "LICENSE").write_text("old")
    assert landed(fetch.ensure("tiny", source, tmp_path / "out", str(published))) == FILES


@pytest.mark.parametrize(("change", "says"), [
    (lambda root: (root / "dataset" / "classes.csv").write_text("a,c"), "a file of .* is not as it was published"),
    (lambda root: (root / "dataset" / "more.txt").write_text("x"), "has 4 files instead of 3"),
    (lambda root: (root / "dataset" / "train" / "a b.jpg").unlink(), "has 2 files instead of 3"),
    (lambda root: (root / "dataset" / "train" / "a b.jpg").rename(root / "dataset" / "b.jpg"), "not as it was"),
])  # fmt: skip
@pytest.mark.parametrize("packed", [False, True])
def test_a_wrong_missing_or_additional_file_is_one_line_and_nothing_is_left(
    published, source, tmp_path, change, says, packed
):
    change(published)
    mirror = pack(published, tmp_path / "x.tar.gz") if packed else published
    with pytest.raises(UserError, match=f"tiny: .*{says}") as error:
        fetch.ensure("tiny", source, tmp_path / "out", str(mirror))
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()


def test_what_holds_no_such_tree_is_one_line(published, source, tmp_path):
    (published / "LICENSE").unlink()
    for mirror, says in (
        (pack(published, tmp_path / "x.tar.gz"), "x.tar.gz holds no LICENSE and dataset"),
        (tmp_path / "nowhere", "nowhere/COMMIT.tar.gz: no such file; .*--mirror"),
        (published, "published/COMMIT.tar.gz: no such file"),
        (published / "README.md", "README.md cannot be unpacked"),
    ):
        with pytest.raises(UserError, match=says) as error:
            fetch.ensure("tiny", source, tmp_path / "out", str(mirror))
        assert "\n" not in str(error.value) and not (tmp_path / "out").exists()


def test_a_bare_interpreter_takes_it(published, source, tmp_path):
    """-I -S: no site-packages, so that every import of another's package fails."""
    program = (
        f"import sys; sys.path.insert(0, {str(REPO)!r})\n"
        "from common.files import fetch\nfrom common.files.sources import Source, Tree\n"
        f"fetch.ensure('tiny', {source!r}, {str(tmp_path / 'out')!r}, {str(published)!r})\n"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert landed(tmp_path / "out") == FILES


def test_the_grocery_set_has_the_published_files():
    folder = data_dir("grocery")
    if not folder.is_dir():
        pytest.skip("no Grocery Store set here: ./get_data.sh grocery")
    published = SOURCES["grocery"].tree
    assert tree.digest(folder, published.names) == (published.count, published.sum)
