"""A network in INT8 inside MXNet, for the CPU."""

from __future__ import annotations

import mxnet as mx
import numpy as np
from mxnet.gluon import HybridBlock

from common.files.errors import UserError
from common.files.quiet import quiet

CALIBRATION = 64  # pictures that the ranges of an INT8 network are read from, where the caller has as many


def quantize(net: HybridBlock, pictures: np.ndarray, batch_size: int = 16) -> HybridBlock:
    """`net` in INT8, for the CPU: convolutions and dense layers, ranges from `pictures`.

    The ranges are the smallest and largest values met (MXNet's ``naive``). Its ``entropy`` cuts off what the linear
    bottlenecks of mobile networks need: EfficientNet-Lite0's features came out unrelated to the float32 ones.

    Parameters
    ----------
    net : HybridBlock
        Takes uint8 pictures; left as it is.
    pictures : (n, H, W, 3) uint8
        A few dozen typical inputs.
    batch_size : int
        Of the calibration.

    Returns
    -------
    HybridBlock
        Takes and gives what `net` does.

    Raises
    ------
    UserError
        There are no pictures.
    """
    from mxnet.contrib.quantization import quantize_net_v2

    if not len(pictures):
        raise UserError("INT8 needs pictures to read its ranges from: the data set is empty")
    size = min(batch_size, len(pictures))
    pictures = pictures[: len(pictures) // size * size]
    batches = mx.io.NDArrayIter(mx.nd.array(pictures, dtype=pictures.dtype), batch_size=size)
    net.hybridize()
    net(mx.nd.array(pictures[:size], dtype=pictures.dtype))
    with quiet():
        result = quantize_net_v2(
            net, quantized_dtype="auto", calib_data=batches, calib_mode="naive", num_calib_examples=len(pictures),
            exclude_operators=["BatchNorm"],  # the normalisation; all others are folded into convolutions by then
        )  # fmt: skip
    result.hybridize(static_alloc=True, static_shape=True)
    return result
