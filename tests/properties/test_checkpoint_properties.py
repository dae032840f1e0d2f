"""Checkpoints: after any saves, failures, damages and new starts the newest whole one is loaded, the best is kept."""

from __future__ import annotations

import errno
from unittest import mock

import mxnet as mx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mxnet import gluon

from common.files.errors import UserError
from common.train import checkpoint
from common.train.checkpoint import Checkpoints, verify

STEPS = ("save", "save", "save", "best", "fail", "damage", "start")
DAMAGES = ("cut", "flip", "remove", "manifest")


def damaged(place, how):
    path = place / ("manifest.json" if how == "manifest" else "net-0.params")
    content = path.read_bytes()
    if how in ("remove", "manifest"):
        path.unlink()
    else:
        path.write_bytes(content[:-1] if how == "cut" else bytes([content[0] ^ 1]) + content[1:])


step = st.tuples(st.sampled_from(STEPS), st.integers(0, 2), st.sampled_from(DAMAGES))


@given(st.lists(step, max_size=9), st.booleans())
@example([("best", 0, "cut")] + [("save", 1, "cut")] * 3, False)
@settings(max_examples=20)  # each flushes some ten files a step to the disk
def test_any_sequence_of_saves_damages_and_starts(new_folder, steps, keep_all):
    folder, net = new_folder(), gluon.nn.Dense(1, in_units=1)
    net.initialize()
    written, whole, best, epoch = {}, set(), None, 0
    kept = Checkpoints(folder, {"net": net}, {}, keep_all)
    for what, which, how in [*steps, ("start", 0, "")]:
        if what in ("save", "best", "fail"):
            state = {"epoch": epoch + 1, "batch": 0, "rsum": which}
            net.weight.set_data(mx.nd.array([[len(written) + 1]]))
            if what == "fail":
                before = kept.names()
                broken = mock.patch.object(checkpoint, "sha256", side_effect=OSError(errno.ENOSPC, "No space"))
                with broken, pytest.raises(UserError, match="No space"):
                    kept.save(state)
                assert kept.names() == before and not list(folder.glob(".writing-*"))
                continue
            name = kept.save(state, what == "best").name
            epoch += 1
            written[name] = state, len(written) + 1
            whole.add(name)
            best = name if what == "best" else best
            assert kept.best() == best
        elif what == "damage":
            for name in sorted(whole)[-1 - which :][:1]:
                damaged(folder / name, how)
                whole.discard(name)
        else:
            kept = Checkpoints(folder, {"net": net}, {}, keep_all)
            net.weight.set_data(mx.nd.array([[-1]]))
            there = max(whole & set(kept.names()), default=None)
            loaded = kept.load(log=lambda line: None)
            assert (loaded is None) == (there is None)
            epoch = loaded["epoch"] if loaded else 0
            if there:
                assert (loaded, net.weight.data().asscalar()) == written[there]
            best = kept.best()  # as the one that is loaded knew it
        names = kept.names()
        whole &= set(names)
        assert best is None or best in names
        assert all(not verify(folder / name) for name in whole)
        if what in ("save", "best"):
            assert names[-1:] == [name] or name < names[-1]
            assert keep_all or len([n for n in names if n <= name and n != best]) <= 2
