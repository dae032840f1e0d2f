"""`load`: one function for every data set."""

import pytest

from common.data import sets
from common.files.errors import UserError


@pytest.mark.parametrize("name", ["cub200", "cifar10", "emoji", "omniglot", "sop"])
def test_missing_data_names_the_command(tmp_path, name):
    with pytest.raises(UserError, match=rf"get_data.sh {name}.*--dataset glyphs"):
        sets.load(name, tmp_path / "nowhere")


def test_names_and_folders_that_are_wrong_are_one_line(tmp_path):
    with pytest.raises(UserError, match=r"no data set is called 'glyph' \(did you mean glyphs\?\): cub200, "):
        sets.load("glyph")
    with pytest.raises(UserError, match="--dataset folder needs --data-path"):
        sets.load("folder")
    with pytest.raises(UserError, match="nowhere is not there: Cars196 has no official host"):
        sets.load("cars196", tmp_path / "nowhere")
    with pytest.raises(UserError, match="nowhere is not there: --data-path takes a folder with a folder of pictures"):
        sets.load("folder", tmp_path / "nowhere")
    with pytest.raises(UserError, match="get_data.sh cifar10 gets it; take something else$"):
        sets.load("cifar10", tmp_path / "nowhere", remedy="take something else")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["emoji", "omniglot", "folder"])
def test_both_protocols_keep_their_promise(name, emoji_folder, omniglot_folder, cifar_folder):
    folder = {"emoji": emoji_folder, "omniglot": omniglot_folder, "folder": cifar_folder}[name]
    unseen, seen = (sets.load(name, folder, protocol=p) for p in ("unseen", "seen"))
    assert not set(unseen.train.class_names) & set(unseen.test.class_names)
    assert seen.train.class_names == seen.test.class_names
    assert not set(seen.train.images) & set(seen.test.images)
    for data in (unseen, seen):
        for part in (data.train, data.test):  # every class has pictures, and labels lead to their class
            assert set(part.labels) == set(range(len(part.class_names)))


def test_the_protocol_follows_a_folder_of_few_classes(cifar_folder, tmp_path):
    for name in ("cat", "dog", "ship"):
        (tmp_path / name).symlink_to(cifar_folder / name)
    seen = sets.load("folder", tmp_path, protocol=None)
    assert seen.protocol == "seen" and len(seen.train.class_names) == 3
    named = sets.load("folder", tmp_path, protocol=None, unseen=["cat"])
    assert named.protocol == "unseen" and named.test.class_names == ["cat"]
    (tmp_path / "frog").symlink_to(cifar_folder / "frog")
    assert sets.load("folder", tmp_path, protocol=None).protocol == "unseen"
