"""The emoji set from packages of the same make-up as npm's, five emoji in each."""

import io
import json
import tarfile

import numpy as np
import pytest
from PIL import Image

from common.data import sets
from common.data.sets import make_emoji
from common.files.errors import UserError

CODES = ["1F436", "2764-FE0F", "1F400", "1F42D", "1F1E6-1F1E8"]  # the fourth is left out, and so is the flag
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 72 72"><rect width="72" height="72" fill="#00f"/></svg>'


def picture(color, side, kind):
    file = io.BytesIO()
    Image.new("RGBA", (side, side), color).save(file, kind, **({"lossless": True} if kind == "WEBP" else {}))
    return file.getvalue()


def package(path, members):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(f"package/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture
def packages(tmp_path):
    rows = [
        {"unified": code, "category": "Flags" if i == 4 else "Things", "subcategory": "thing-small",
         "short_names": [f"short_{i}"]}
        for i, code in enumerate(CODES)
    ]  # fmt: skip
    plain = [code.replace("-FE0F", "") for code in CODES]
    labels = [{"hexcode": code, "label": f"Label: {i}", "tags": ["b-c", "“d”"]} for i, code in enumerate(CODES)]
    tags = [{"hexcode": code, "tags": "one, two"} for code in plain]
    spoken = {"".join(chr(int(c, 16)) for c in code.split("-")): [f"word_{i}"] for i, code in enumerate(CODES)}
    members = {
        "emoji-datasource-google": {
            "emoji.json": json.dumps(rows).encode(),
            **{f"img/google/64/{code.lower()}.png": picture("#ff000080", 64, "PNG") for code in CODES},
        },
        "emoji-datasource-twitter": {
            f"img/twitter/64/{code.lower()}.png": picture("lime", 64, "PNG") for code in CODES
        },
        "@lobehub/fluent-emoji-3d": {f"assets/{code.lower()}.webp": picture("black", 256, "WEBP") for code in CODES},
        "openmoji": {
            "data/openmoji.json": json.dumps(tags).encode(), **{f"color/svg/{code}.svg": SVG for code in plain},
        },
        "emojibase-data": {"en/data.json": json.dumps(labels).encode()},
        "emojilib": {"dist/emoji-en-US.json": json.dumps(spoken).encode()},
    }  # fmt: skip
    return {name: package(tmp_path / f"{i}.tgz", content) for i, (name, content) in enumerate(members.items())}


def test_pictures_classes_and_words(packages, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    if make_emoji.svg_drawer() is None:
        pytest.skip("no cairo library")
    assert make_emoji.make(packages, folder) == ["noto", "twemoji", "fluent", "openmoji"]
    assert (folder / "classes.csv").read_text().split() == [
        "code,name,category,subcategory", "1f436,Label:", "0,Things,thing-small", "2764,Label:",
        "1,Things,thing-small", "1f400,Label:", "2,Things,thing-small",
    ]  # fmt: skip
    assert (folder / "captions.txt").read_text().splitlines()[5:10] == [
        "2764.jpg#0\tlabel 1", "2764.jpg#1\tb c d", "2764.jpg#2\tword 1", "2764.jpg#3\tlabel 1 one two",
        "2764.jpg#4\tshort 1 thing small",
    ]  # fmt: skip
    expected = {"noto": (255, 127, 127), "twemoji": (0, 255, 0), "fluent": (0, 0, 0), "openmoji": (0, 0, 255)}
    for artist, color in expected.items():
        pixels = np.asarray(Image.open(folder / "images" / artist / "2764.jpg")).astype(int)
        assert pixels.shape == (64, 64, 3) and abs(pixels - color).max() <= 3
    assert len(sets.load("emoji", folder).train.images) > 0


def test_without_cairo_there_are_three_artists(packages, tmp_path, monkeypatch):
    monkeypatch.setattr(make_emoji, "svg_drawer", lambda: None)
    assert make_emoji.make(packages, tmp_path) == ["noto", "twemoji", "fluent"]
    assert not (tmp_path / "images" / "openmoji").exists()


def test_another_version_of_a_package_is_named(packages, tmp_path):
    packages["emojilib"] = packages["emojibase-data"]
    with pytest.raises(UserError, match="holds no package/dist/emoji-en-US.json: the package is another version"):
        make_emoji.make(packages, tmp_path)


def test_words_are_the_shared_sets(emoji_folder):
    """Names of the set made with the real packages, cleaned again, are its first captions."""
    captions = (emoji_folder / "captions.txt").read_text(encoding="utf-8").splitlines()
    names = [line.split("\t")[1] for line in captions if "#0\t" in line]
    rows = (emoji_folder / "classes.csv").read_text(encoding="utf-8").splitlines()[1:]
    assert len(names) == len(rows) == 1202
    assert all(make_emoji.spoken(name) == name for name in names)
