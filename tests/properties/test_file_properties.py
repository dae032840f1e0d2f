"""Atomic files: wherever the writing fails, what was there before is whole, or the new content is."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.files import disk
from common.files.errors import UserError

names = st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1, max_size=60).filter(
    lambda name: name not in (".", "..")
)
failures = st.sampled_from([OSError(errno.ENOSPC, "No space left on device"), ValueError("wrong"), KeyboardInterrupt()])


@given(names, st.none() | st.binary(max_size=20), st.lists(st.binary(max_size=9), max_size=4), st.data(), failures)
def test_a_failure_anywhere_leaves_the_old_or_the_new_whole(new_folder, name, old, pieces, data, failure):
    folder = new_folder()
    path, place = folder / name, data.draw(st.sampled_from(["none", "write", "flush", "rename", "flush folder"]))
    if old is not None:
        path.write_bytes(old)
    stop = data.draw(st.integers(0, len(pieces)))
    flushes = {"flush": failure, "flush folder": [None, failure]}.get(place)
    patches = [mock.patch.object(disk, "flush", side_effect=flushes)] if flushes else []
    if place == "rename":
        patches.append(mock.patch.object(disk.os, "replace", side_effect=failure))
    with contextlib.ExitStack() as stack:
        for patch in patches:
            stack.enter_context(patch)
        if place != "none":
            stack.enter_context(pytest.raises(UserError if isinstance(failure, OSError) else type(failure)))
        with disk.atomic(path) as beside, open(beside, "wb") as file:
            for number, piece in enumerate(pieces):
                if place == "write" and number == stop:
                    raise failure
                file.write(piece)
            if place == "write":
                raise failure
    there = b"".join(pieces) if place in ("none", "flush folder") else old
    assert (path.read_bytes() if path.exists() else None) == there
    assert os.listdir(folder) == ([] if there is None else [path.name])


plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
nested = st.recursive(plain, lambda part: st.lists(part, max_size=3) | st.dictionaries(st.text(), part, max_size=3))


@given(nested)
def test_json_comes_back_as_it_was(new_folder, value):
    path = new_folder() / "value.json"
    disk.write_json(path, value)
    assert json.loads(path.read_text(encoding="utf-8")) == value
