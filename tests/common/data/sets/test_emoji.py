"""The emoji of four artists, and files that are not as they should be."""

import pytest

from common.data import sets
from common.data.sets import emoji
from common.files.errors import UserError


def test_emoji(emoji_folder):
    unseen = sets.load("emoji", emoji_folder)
    assert len(unseen.train) + len(unseen.test) == 4808
    assert not set(unseen.train.class_names) & set(unseen.test.class_names)
    assert len(unseen.captions) == 1202 and all(len(texts) == 5 for texts in unseen.captions.values())
    seen = sets.load("emoji", emoji_folder, protocol="seen")
    assert len(seen.train) == 3606 and set(seen.test.domains) == {3}
    assert seen.train.read(0).shape == (64, 64, 3)


def small(root, captions="1f600.jpg#0\tgrinning face\n1f436#0\tdog face\n"):
    for artist in ("noto", "openmoji"):
        (root / "images" / artist).mkdir(parents=True)
        for code in ("1f600", "1f436"):
            (root / "images" / artist / f"{code}.jpg").touch()
    lines = ["code,name,category,subcategory", "1f600,grinning face,smileys,faces", "1f436,dog face,animals,mammals"]
    (root / "classes.csv").write_text("\n".join(lines) + "\n")
    (root / "captions.txt").write_text(captions)


def test_artists_that_are_not_there_are_left_out(tmp_path):
    small(tmp_path)
    (tmp_path / "images" / "noto" / "1f436.jpg").unlink()
    whole, rows, captions = emoji.load(tmp_path)
    assert whole.domain_names == ["noto", "openmoji"] and whole.domains.tolist() == [0, 1, 1]
    assert whole.labels.tolist() == [0, 0, 1] and whole.class_names == ["1f600", "1f436"]
    assert [row["name"] for row in rows] == ["grinning face", "dog face"]
    assert captions == {"1f600": ["grinning face"], "1f436": ["dog face"]}


@pytest.mark.parametrize(("captions", "text"), [
    ("1f600#0\tgrinning face\n1f999#0\tno such\n", "captions.txt, line 2: expected CODE#N, a tab and a text"),
    ("1f600#0 grinning face\n", "captions.txt, line 1"),
    (None, "captions.txt"),
])  # fmt: skip
def test_wrong_captions_name_their_line(tmp_path, captions, text):
    small(tmp_path, captions or "")
    if captions is None:
        (tmp_path / "captions.txt").unlink()
    with pytest.raises(UserError, match=text):
        emoji.load(tmp_path)


def test_what_is_no_emoji_folder_names_the_command(tmp_path):
    with pytest.raises(UserError, match=r"holds no emoji \(classes.csv\): ./get_data.sh emoji"):
        emoji.load(tmp_path)
    small(tmp_path)
    (tmp_path / "classes.csv").write_text("name\nx\n")
    with pytest.raises(UserError, match="classes.csv"):
        emoji.load(tmp_path)
    (tmp_path / "classes.csv").write_text("code,name,category,subcategory\n1f999,none,x,y\n")
    with pytest.raises(UserError, match="images holds no picture of classes.csv"):
        emoji.load(tmp_path)
