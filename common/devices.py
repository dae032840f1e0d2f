"""The devices a run uses, and a batch split over them."""

from __future__ import annotations

from collections.abc import Sequence

import mxnet as mx
import numpy as np

from common.errors import UserError


def contexts(gpus: Sequence[int], num_cpus: int = 1) -> list[mx.Context]:
    """The contexts for ``--gpus`` and ``--num-cpus``.

    Parameters
    ----------
    gpus : sequence of int
        GPU numbers; empty means CPU.
    num_cpus : int
        CPU contexts that stand for devices when `gpus` is empty. They share the cores: this is how code for
        several devices runs without a GPU.

    Raises
    ------
    UserError
        A GPU that is not there, or named twice.
    """
    if not gpus:
        return [mx.cpu(i) for i in range(num_cpus)]
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


def split(array: np.ndarray, devices: Sequence[mx.Context]) -> list[mx.nd.NDArray]:
    """Cut the first axis into one equal part a device and copy each part there, in its own dtype.

    Labels and indices (64-bit) travel as int32, which every operator takes.

    Raises
    ------
    ValueError
        The first axis does not divide by the number of devices.
    """
    if len(array) % len(devices):
        raise ValueError(f"a batch of {len(array)} does not divide by {len(devices)} devices")
    dtype = np.int32 if array.dtype == np.int64 else array.dtype
    return [mx.nd.array(part, ctx=ctx, dtype=dtype) for part, ctx in zip(np.split(array, len(devices)), devices)]
