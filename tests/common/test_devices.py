"""Devices a run uses, and batches split over them."""

import platform
import subprocess
import sys
import threading

import mxnet as mx
import numpy as np
import pytest

from common import devices
from common.files.errors import UserError


@pytest.fixture
def gpus(monkeypatch):
    """Call with how many GPUs this machine shall have."""

    def have(count, cuda=False):
        monkeypatch.setattr(mx.context, "num_gpus", lambda: count)
        monkeypatch.setattr(mx.runtime.Features, "is_enabled", lambda self, name: cuda)

    return have


def test_processors_stand_for_devices():
    assert devices.contexts([]) == [mx.cpu(0)]
    assert devices.contexts([], 3) == [mx.cpu(0), mx.cpu(1), mx.cpu(2)]


def test_the_gpus_asked_for_in_their_order(gpus):
    gpus(4, cuda=True)
    assert devices.contexts([2, 0]) == [mx.gpu(2), mx.gpu(0)]
    assert devices.contexts([3], num_cpus=2) == [mx.gpu(3)]


@pytest.mark.parametrize(("present", "asked", "cuda", "text"), [
    (0, [0, 1], False, "--gpus=0,1: this machine has 0 GPUs and this MXNet is the CPU build (make GPU=1 setup"),
    (1, [1], True, "--gpus=1: this machine has 1 GPU; --gpus= runs on the CPU"),
    (2, [0, 2], True, "--gpus=0,2: this machine has 2 GPUs;"),
    (2, [-1], True, "--gpus=-1: this machine has 2 GPUs;"),
    (2, [1, 1], True, "--gpus=1,1 names a GPU twice"),
])  # fmt: skip
def test_a_gpu_that_is_not_there_says_how_many_are(gpus, present, asked, cuda, text):
    gpus(present, cuda)
    with pytest.raises(UserError) as error:
        devices.contexts(asked)
    assert text in str(error.value) and "\n" not in str(error.value)


def test_a_cuda_build_without_a_driver_has_no_gpu(monkeypatch):
    def fails():
        raise mx.MXNetError("Check failed: e == cudaSuccess: CUDA driver version is insufficient")

    monkeypatch.setattr(mx.context, "num_gpus", fails)
    with pytest.raises(UserError, match="has 0 GPUs"):
        devices.contexts([0])


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize(("dtype", "expected"), [
    (np.uint8, np.uint8), (np.float32, np.float32), (np.int64, np.int32), (np.int32, np.int32),
])  # fmt: skip
def test_split_is_in_order_in_its_own_type_and_place(count, dtype, expected):
    whole = np.arange(12 * 2).reshape(12, 2).astype(dtype)
    contexts = [mx.cpu(i) for i in range(count)]
    parts = devices.split(whole, contexts)
    assert [part.context for part in parts] == contexts
    assert {part.dtype for part in parts} == {expected}
    assert {len(part) for part in parts} == {12 // count}
    np.testing.assert_array_equal(np.concatenate([part.asnumpy() for part in parts]), whole)


@pytest.mark.slow
def test_put_does_not_wait_for_the_queue_and_keeps_a_copy():
    """What was asked before is still under way when it returns; the caller's array may then change."""
    slow = mx.nd.random.normal(shape=(1500, 1500))
    mx.nd.waitall()
    host = np.arange(6.0).reshape(2, 3)
    before = host.copy()
    products = [mx.nd.dot(slow, slow) for _ in range(20)]
    done = []
    watcher = threading.Thread(target=lambda: (products[-1].wait_to_read(), done.append(True)))
    watcher.start()
    there = devices.put(host)
    waited = bool(done)
    host += 100
    watcher.join()
    assert not waited
    np.testing.assert_array_equal(there.asnumpy(), before)
    assert there.dtype == np.float32 and host.flags.writeable


def test_put_takes_parts_of_arrays_and_other_types():
    host = np.arange(12).reshape(3, 4)
    turned = devices.put(host.T[1:], mx.cpu(1), np.float32)
    assert turned.context == mx.cpu(1) and turned.dtype == np.float32
    np.testing.assert_array_equal(turned.asnumpy(), host.T[1:])
    np.testing.assert_array_equal(devices.put(host > 4, dtype=np.float32).asnumpy(), host > 4)


def test_a_batch_that_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="a batch of 7 does not divide by 2 devices"):
        devices.split(np.zeros(7), [mx.cpu(0), mx.cpu(1)])


@pytest.mark.parametrize(("name", "text"), [
    ("dist_sync", "--kvstore dist_sync is for processes that a launcher starts: python3 -m common.launch -n 2 -- "),
    ("dist_async", "that a launcher starts"), ("nccl", "--kvstore nccl cannot be used with this MXNet"),
])  # fmt: skip
def test_a_store_that_cannot_be_had_is_one_line(name, text, monkeypatch):
    if name == "nccl" and mx.runtime.Features().is_enabled("NCCL"):
        pytest.skip("this MXNet has NCCL")
    monkeypatch.delenv("DMLC_ROLE", raising=False)
    with pytest.raises(UserError, match=text) as error:
        devices.kvstore(name)
    assert "\n" not in str(error.value)
    assert devices.kvstore("local").type == "local"


@pytest.mark.parametrize("name", ["device", "local"])
def test_only_what_is_sent_is_compressed(name):
    with pytest.raises(UserError, match=f"--gradient-compression is .* --kvstore {name} sends none: leave it out"):
        devices.kvstore(name, 0.5)
    assert devices.threshold(devices.kvstore(name)) is None


# glibc's 32 MiB for a single array, above which memory is the system's again at each `free`, is passed here.
FREED = """
import resource, sys
from common import devices
import numpy as np
if sys.argv[1] == "kept":
    devices.keep_freed_memory()
pages = []
for _ in range(5):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(1 << 24, np.float32)  # 16,384 pages of 4 KiB
    pages.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(min(pages), max(pages))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator alone is told")
def test_freed_memory_is_kept_for_what_is_made_next():
    def pages(how):
        done = subprocess.run([sys.executable, "-c", FREED, how], capture_output=True, text=True, check=True)
        return map(int, done.stdout.split())

    fewest, most = pages("kept")
    assert most > 10 * fewest  # the first array alone asks the system
    assert next(pages("given back")) > 10 * fewest
