"""Omniglot: whole alphabets held back."""

import numpy as np
import pytest

from common.data import sets
from common.files.errors import UserError


def test_omniglot_holds_whole_alphabets_back(omniglot_folder):
    data = sets.load("omniglot", omniglot_folder)
    alphabets = [{data.superclasses[name] for name in part.class_names} for part in (data.train, data.test)]
    assert len(alphabets[0]) == 3 and len(alphabets[1]) == 2 and not alphabets[0] & alphabets[1]
    assert all(np.bincount(part.labels).tolist() == [20] * len(part.class_names) for part in (data.train, data.test))
    named = sets.load("omniglot", omniglot_folder, unseen=["Balinese"])
    assert {data.superclasses[name] for name in named.test.class_names} == {"Balinese"}


def test_each_person_draws_every_character(omniglot_folder):
    whole = sets.load("omniglot", omniglot_folder).train
    assert whole.domain_names == [str(i) for i in range(1, 21)]
    assert all(sorted(whole.domains[whole.labels == label]) == list(range(20)) for label in (0, 5))
    assert np.bincount(whole.labels).min() == 20
    assert whole.read(0).shape == (105, 105, 3)


def test_wrong_folders_and_names_are_one_line(tmp_path, omniglot_folder):
    with pytest.raises(UserError, match=r"--unseen Balines: no such alphabet \(did you mean Balinese\?\)"):
        sets.load("omniglot", omniglot_folder, unseen=["Balines"])
    with pytest.raises(UserError, match=r"holds no ALPHABET/CHARACTER/\*.png: ./get_data.sh omniglot"):
        sets.load("omniglot", tmp_path)
    for name in ("A/one/0001_01.png", "A/two/picture.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    with pytest.raises(UserError, match=r"picture.png"):
        sets.load("omniglot", tmp_path)
