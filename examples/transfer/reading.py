"""Features of pictures, as `generate_embedding.py` writes them, from Python."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator

import numpy as np

from common.backbones import features
from common.backbones.quantize import CALIBRATION, quantize
from common.export import engine as engines
from common.files.errors import UserError
from examples.transfer import inputs, networks


def embed(
    source, model: str = "VGG16", weights: str = "imagenet", batch_size: int = 1, interpolation: str = "nearest",
    int8: bool = False, engine: str = "auto", num_workers: int = 2,
) -> np.ndarray:  # fmt: skip
    """The features of all pictures of a source, in its order; defaults are those of the flags.

    Parameters
    ----------
    source : examples.transfer.inputs.Files, Vectors or Pictures
        Of `inputs.from_folder`, `from_csv`, `from_npy` or `from_dataset`: has the ``labels``, too.
    model, weights
        See `networks.create`.
    batch_size : int
        Pictures a forward pass takes.
    interpolation : {"nearest", "bilinear", "bicubic", "weights"}
        By which pictures are resized; ``weights``: as those were that the weights were trained with.
    int8 : bool
        In 8 bits, with MXNet.
    engine : {"auto", "mxnet", "onnxruntime"}
        See `common.export.engine.choose`.
    num_workers : int
        Threads that decode.

    Returns
    -------
    (n, width) float32

    Raises
    ------
    UserError
        No such network, its weights cannot be had, or a picture cannot be read.
    """
    stop_at(source.check())
    net = networks.create(model, weights)
    interpolation = networks.interpolation(interpolation, net)
    args = argparse.Namespace(engine=engine, gpus=[], int8=int8)
    read_by = engines.named(engines.choose(args, net, net.input_size, len(source)))
    batches = inputs.batches(source, net.input_size, batch_size, interpolation, num_workers=num_workers)
    return features.encode(ready(net, source, interpolation, int8, read_by), whole(batches))


def ready(net, source, interpolation: str, int8: bool, read_by: Callable | None, skip=()) -> Callable:
    """A network that is going to read pictures: in another engine, in 8 bits, or hybridized.

    Parameters
    ----------
    net : common.backbones.Backbone
    source : examples.transfer.inputs.Files, Vectors, Pictures or Middle
        The pictures, of which some set the ranges of 8 bits.
    interpolation : {"nearest", "bilinear", "bicubic"}
    int8 : bool
    read_by : callable (network, size) or None
        See `common.export.engine.named`.
    skip : collection of int
        Numbers of pictures known to fail.
    """
    if read_by:
        return read_by(net, net.input_size)
    if int8:
        return quantize(net, inputs.spread(source, CALIBRATION, net.input_size, interpolation, skip))
    net.hybridize(static_alloc=True, static_shape=True)
    return net


def whole(batches: Iterator[inputs.Batch]) -> Iterator[inputs.Batch]:
    """The batches, up to one with a picture that cannot be read: its reason is raised."""
    for batch in batches:
        stop_at(batch.failed)
        yield batch


def stop_at(failed: dict[int, str]) -> None:
    """Raise why the first of the pictures that failed cannot be read."""
    if failed:
        raise UserError(failed[min(failed)])
