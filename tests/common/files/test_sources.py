"""The table of what can be fetched, and that messages and pages name nothing that is not in it."""

import re
import subprocess

import pytest

from common import backbones
from common.backbones import pretrained
from common.data import sets
from common.files.paths import REPO
from common.files.sources import SOURCES

# Their owners publish no checksum: a wrong or cut file is noticed by its length and by unpacking it.
NO_SUM = {
    "sop", "awa2", "flickr8k", "flickr30k", "coco", "f8k", "f30k", "kiros-coco", "vse", "fasttext", "glove",
    "keras-mobilenet",
}  # fmt: skip
DIGITS = {"md5": 32, "sha256": 64}


def test_every_file_has_a_checksum_unless_none_is_published():
    assert {name for name, source in SOURCES.items() if source.checksum == "none published"} == NO_SUM
    for name, source in SOURCES.items():
        for address, algorithm, value in source.files:
            if name in NO_SUM:
                assert (algorithm, value) == ("", "")
                continue
            assert re.fullmatch("[0-9a-f]+", value)
            if name.startswith("torchvision-"):  # the first digits stand in the name of the file
                assert algorithm == "sha256" and re.search(rf"-{value}\.(pth|safetensors)$", address)
            else:
                assert len(value) == DIGITS[algorithm]


def test_the_sums_of_the_official_pages():
    sums = {name: [value for _, _, value in SOURCES[name].files] for name in ("cub200", "cifar10", "cifar100")}
    assert sums == {
        "cub200": ["97eceeb196236b17998738112f37df78"],
        "cifar10": ["c32a1d4ab5d03f1284b67883e8d87530"],
        "cifar100": ["03b5dce01913d631647c71ecec9e9cb8"],
    }


@pytest.mark.parametrize("name", SOURCES)
def test_each_source_is_whole(name):
    source = SOURCES[name]
    assert re.fullmatch(r"\d+(\.\d+)? (MB|GB)", source.size)
    assert source.terms and source.check
    for place in (source.folder, source.check):
        assert not place.startswith("/") and ".." not in place
    for address, _, _ in source.files:
        if source.package or source.npm:
            assert re.fullmatch(r"[\w.-]+\.(whl|tar\.gz|tgz)", address)  # an archive's name
        else:
            assert re.match(r"(https?|ftp)://[\w.-]+/.*\.(tgz|tar\.gz|zip|h5|pth|safetensors)$", address)
    if source.package:
        package, version = source.package
        (file,) = (address for address, _, _ in source.files)
        assert re.split(r"[-_.]", file)[: len(package.split("-"))] == package.split("-") and f"-{version}" in file
    if source.npm:
        assert len(source.npm) == len(source.files) and all(re.fullmatch(r"@?[\w/-]+@[\d.]+", n) for n in source.npm)
    if source.convert:
        assert source.convert in backbones.names() and not source.unpack
        assert source.check == f"{source.convert}.params" and source.folder == pretrained.weights_dir().name


def test_every_data_set_and_packaged_network_is_there():
    without_host = {"cars196", "glyphs", "folder"}
    assert set(sets.NAMES) - without_host <= set(SOURCES)
    assert set(pretrained.PACKAGED) | set(pretrained.KERAS) <= set(SOURCES)
    assert {SOURCES[name].convert for name in pretrained.KERAS} == set(pretrained.KERAS)


def test_the_listing_shows_all():
    done = subprocess.run([str(REPO / "get_data.sh"), "--list"], capture_output=True, text=True)
    if "make setup" in done.stderr:
        pytest.skip("get_data.sh runs in .venv, which make setup makes")
    head, *lines = (re.split(r" {2,}", line.strip()) for line in done.stdout.splitlines())
    assert head == ["name", "size", "checksum", "licence or terms", "goes to"]
    expected = [[n, s.size, s.checksum, s.terms, f"data/{s.folder}"] for n, s in SOURCES.items()]
    assert lines == expected


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
    assert {(file, name) for file, name in named if name not in SOURCES} == set()
