"""The devices of a run, and batches on their way to them."""

from __future__ import annotations

import ctypes
import os
import weakref
from collections.abc import Sequence
from pathlib import Path

import mxnet as mx
import numpy as np

from common.files.errors import UserError

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
CPUINFO = Path("/proc/cpuinfo")  # Linux alone: elsewhere a processor's instructions are not asked for
_thresholds: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()  # of the stores that compress


def contexts(gpus: Sequence[int], num_cpus: int = 1, amp: bool = False) -> list[mx.Context]:
    """The contexts for ``--gpus`` and ``--num-cpus``.

    Parameters
    ----------
    gpus : sequence of int
        GPU numbers; empty means CPU.
    num_cpus : int
        CPU contexts that stand for devices when `gpus` is empty. They share the cores: this is how code for
        several devices runs without a GPU.
    amp : bool
        They are to compute in 16 bits too, see `half`.

    Raises
    ------
    UserError
        A GPU that is not there, or named twice; a processor without numbers of 16 bits.
    """
    found = _present(gpus) if gpus else [mx.cpu(i) for i in range(num_cpus)]
    if amp:
        half(found)
    return found


def half(contexts: Sequence[mx.Context]) -> str:
    """The numbers of 16 bits that devices compute with: ``float16`` on GPUs, ``bfloat16`` on processors.

    Parameters
    ----------
    contexts : sequence of mx.Context

    Raises
    ------
    UserError
        The processor has none. Then oneDNN imitates them, at under half the speed of float32, or refuses.
    """
    if all(ctx.device_type == "gpu" for ctx in contexts):
        return "float16"
    if not has_bfloat16():
        raise UserError(
            "--amp: this processor has no bfloat16 arithmetic (AVX512-BF16), and would be slower by it: leave it out,"
            " or give --gpus"
        )
    return "bfloat16"


def has_bfloat16() -> bool:
    """Whether the processor computes with bfloat16, and this MXNet by it."""
    try:
        text = CPUINFO.read_text()
    except OSError:
        return False
    return "avx512_bf16" in text and mx.runtime.Features().is_enabled("MKLDNN")


def _present(gpus: Sequence[int]) -> list[mx.Context]:
    if len(set(gpus)) < len(gpus):
        raise UserError(f"--gpus={','.join(map(str, gpus))} names a GPU twice")
    try:
        present = mx.context.num_gpus()
    except mx.MXNetError:  # a CUDA build on a machine without a driver
        present = 0
    missing = [gpu for gpu in gpus if not 0 <= gpu < present]
    if missing:
        cuda = mx.runtime.Features().is_enabled("CUDA")
        build = "" if cuda else " and this MXNet is the CPU build (make GPU=1 setup installs the other)"
        raise UserError(
            f"--gpus={','.join(map(str, gpus))}: this machine has {present} GPU{'s' * (present != 1)}{build};"
            " --gpus= runs on the CPU"
        )
    return [mx.gpu(i) for i in gpus]


def kvstore(name: str, compression: float | None = None, amp: bool = False) -> mx.kv.KVStore:
    """The store that sums gradients, for ``--kvstore`` and ``--gradient-compression``.

    Parameters
    ----------
    name : str
        Of an MXNet kvstore: ``device``, ``local``, ``nccl``, ``dist_sync``, ...
    compression : float, optional
        A threshold :math:`t`. Of each number of a gradient and what was left of it in earlier steps, -t, 0 or t is sent
        in two bits, and the rest is left for later ones. Only between machines.
    amp : bool
        The gradients are those of mixed precision: scaled, and now and then infinite.

    Raises
    ------
    UserError
        With `amp` they are compressed, or the servers update by themselves.
        It is one between machines, and no launcher started this process; or NCCL, and no GPU or a build without it.
    """
    if name.startswith("dist") and "DMLC_ROLE" not in os.environ:  # MXNet would wait for a scheduler, or abort
        raise UserError(
            f"--kvstore {name} is for processes that a launcher starts: python3 -m common.launch -n 2 -- python3 ..."
        )
    if amp and (compression or name == "dist_async"):
        flag = "--gradient-compression" if compression else f"--kvstore {name}"
        raise UserError(f"--amp scales gradients, and leaves a step out where one is infinite: leave out {flag}")
    if compression and not name.startswith("dist"):
        raise UserError(
            f"--gradient-compression is for gradients that are sent to other machines, and --kvstore {name} sends none:"
            " leave it out, or take dist_sync"
        )
    try:
        store = mx.kv.create(name)
    except mx.MXNetError as error:
        reason = str(error).strip().splitlines()[-1][:100]
        raise UserError(f"--kvstore {name} cannot be used with this MXNet ({reason}): --kvstore device can") from error
    if compression:
        store.set_gradient_compression({"type": "2bit", "threshold": compression})
        _thresholds[store] = compression
    return store


def threshold(store: mx.kv.KVStore) -> float | None:
    """The threshold of ``--gradient-compression`` of a store of `kvstore`'s; None where gradients are sent whole."""
    return _thresholds.get(store)


def threads() -> int:
    """How many threads MXNet computes with on a processor; 0: one for each core."""
    count = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    return int(count) if count.isdigit() else 0


def keep_freed_memory() -> None:
    """Let this process keep the memory that it frees, for the arrays that it makes next.

    glibc gives large arrays back to the system as they are freed. A network that is trained without ``static_alloc``
    makes and frees its maps in each step, and has all their pages given anew and filled with noughts: for
    EfficientNet-Lite0 with 32 pictures of 128 pixels 41,000 pages, a sixth of the time. The process holds as much as
    it once needed until it ends. Without glibc, or with one that takes no such threshold, nothing changes.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt and mallopt(M_MMAP_THRESHOLD, 1 << 30):
        mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)


def put(array: np.ndarray, ctx: mx.Context | None = None, dtype=None) -> mx.nd.NDArray:
    """A copy of a host's array on a device, without waiting for the engine.

    `mx.nd.array` waits until its own write has run, and that stands in the engine's queue behind all operators before
    it: in a training step processors then idle. Here the engine takes over a copy as it is.

    Parameters
    ----------
    array : numpy.ndarray
    ctx : mx.Context, optional
        Default is the first CPU.
    dtype : optional
        Default is the array's own; 64-bit numbers become 32-bit ones, which every operator takes.
    """
    dtype = np.dtype(dtype or array.dtype)
    mine = np.array(array, {"int64": np.int32, "float64": np.float32}.get(dtype.name, dtype), order="C")
    return mx.nd.from_numpy(mine).as_in_context(ctx or mx.cpu())


def seen(array: mx.nd.NDArray) -> np.ndarray:
    """The memory of an array on the CPU, not copied: copies took 3 % of SqueezeNet's time."""

    class Shared:
        def __dlpack__(self, **_):
            return array.to_dlpack_for_read()

        def __dlpack_device__(self):
            return 1, 0  # kDLCPU

    return np.from_dlpack(Shared())


def split(array: np.ndarray, devices: Sequence[mx.Context]) -> list[mx.nd.NDArray]:
    """Cut the first axis into one equal part a device and `put` each part there.

    Parameters
    ----------
    array : numpy.ndarray
    devices : sequence of mx.Context

    Returns
    -------
    list of mx.nd.NDArray
        In the order of `devices`.

    Raises
    ------
    ValueError
        The first axis does not divide by the number of devices.
    """
    if len(array) % len(devices):
        raise ValueError(f"a batch of {len(array)} does not divide by {len(devices)} devices")
    return [put(part, ctx) for part, ctx in zip(np.split(array, len(devices)), devices)]
