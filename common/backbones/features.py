"""Features of many pictures: decoded ahead while the network runs, in bounded memory, in float32 or INT8."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import mxnet as mx
import numpy as np
from tqdm import tqdm

from common import devices
from common.backbones import feature_store, modelfile
from common.backbones.quantize import CALIBRATION, FORM, quantize
from common.data.loader import Loader
from common.data.samplers import Sequential
from common.data.transforms import Eval
from common.files.errors import UserError


def stream(
    batches, net, ctx=None, fill: bool | int = True, head: Callable | None = None
) -> Iterator[tuple[np.ndarray, object]]:
    """The features of each batch, while the next batch is already being computed.

    Parameters
    ----------
    batches : iterable of common.data.loader.Batch, or of anything with `images` (n, H, W, 3) uint8
        Of (n, views, H, W, 3) the mean of the views' features is given.
    net : callable
        A network, or a method of one.
    ctx : mx.Context, optional
    fill : bool or int
        Fill a smaller batch up with zeros to the size of the first, or to this many: a network hybridized with static
        shapes uses its memory again. The last digits of features depend on it: matrix products round by their size.
    head : callable, optional
        What follows `net`: it sees the mean of several views, and what it gives is given instead.

    Yields
    ------
    features : (n, width) float32
    batch
        The batch they belong to.
    """
    ctx, size, waiting = ctx or mx.cpu(), None if fill is True else int(fill), None
    for batch in batches:
        size = len(batch.images) if size is None else size
        images = batch.images
        if len(images) < size:
            images = np.concatenate([images, np.zeros((size - len(images), *images.shape[1:]), images.dtype)])
        views = images.shape[1] if images.ndim == 5 else 1
        result = net(devices.put(images.reshape(-1, *images.shape[-3:]) if views > 1 else images, ctx))
        result = result.reshape((-4, -1, views, 0)).mean(axis=1) if views > 1 else result
        result = (head(result) if head else result).copy()  # a static network overwrites its output
        if waiting:
            yield waiting[0].asnumpy()[: len(waiting[1].images)], waiting[1]
        waiting = result, batch
    if waiting:
        yield waiting[0].asnumpy()[: len(waiting[1].images)], waiting[1]


def encode(forward, batches, ctx=None, fill: bool | int = True, head: Callable | None = None) -> np.ndarray:
    """What a network gives for every picture, or for every row of features, in order.

    Parameters
    ----------
    forward, batches, ctx, fill, head
        As `net`, `batches`, `ctx`, `fill` and `head` of `stream`; `batches` such as those of
        `common.data.loader.Loader` or `common.data.features.FeatureSet` in order.

    Returns
    -------
    (n, d) float32
        (0, 0) where there is no batch.
    """
    rows = [values for values, _ in stream(batches, forward, ctx, fill, head)]
    return np.concatenate(rows) if rows else np.empty((0, 0), np.float32)


def prepare(backbone, image_set, size: int, int8: bool = False, num_workers: int = 2, engine: Callable | None = None):
    """A network ready to read features: hybridized, in INT8, or in another engine.

    Parameters
    ----------
    backbone : common.backbones.Backbone
    image_set : common.data.sets.ImageSet
        INT8 is calibrated on pictures spread over it.
    size : int
        Side in pixels of the pictures it will see.
    int8 : bool
    num_workers : int
        Threads that decode the pictures for the calibration.
    engine : callable (network, size), optional
        Gives what reads instead of MXNet, see `common.export.engine`; not in INT8.

    Returns
    -------
    HybridBlock or callable

    Raises
    ------
    UserError
        The network takes pictures of another size only.
    """
    if backbone.fixed_size and size != backbone.input_size and backbone.name_ != "conv4":
        raise UserError(f"{backbone.name_} takes pictures of {backbone.input_size} pixels only, not of {size}")
    if engine is not None:
        return engine(backbone, size)
    if not int8:
        backbone.hybridize(static_alloc=True, static_shape=True)
        return backbone
    spread = np.linspace(0, len(image_set) - 1, min(len(image_set), CALIBRATION)).astype(int)
    return quantize(backbone, image_set.subset(np.unique(spread)).array(size, num_workers))


def extract(
    backbone, image_set, size: int | None = None, batch_size: int = 64, int8: bool = False, ctx=None, num_workers=2,
    transform: Eval | None = None, engine: Callable | None = None,
) -> np.ndarray:  # fmt: skip
    """Features of all pictures.

    Parameters
    ----------
    backbone : common.backbones.Backbone
    image_set : common.data.sets.ImageSet
    size : int, optional
        Side in pixels the pictures are resized to; None is the backbone's own.
    batch_size, num_workers : int
    int8 : bool
        Run the network in INT8, calibrated on pictures spread over the set.
    ctx : mx.Context, optional
    transform : common.data.transforms.Eval, optional
        Instead of resizing to `size`: its crop is then the size.
    engine : callable, optional
        As in `prepare`.

    Returns
    -------
    (n, width) float32
    """
    transform = transform or _resize(backbone, size)
    net = prepare(backbone, image_set, transform.crop, int8, num_workers, engine)
    result, pictures = np.empty((len(image_set), backbone.width), np.float32), transform.pictures(batch_size)
    for rows, indices in _read(net, image_set, transform, pictures, ctx, num_workers, True):
        result[indices] = rows
    return result


def _read(net, image_set, transform: Eval, pictures: int, ctx, num_workers: int, fill) -> Iterator[tuple]:
    """The features of each batch of so many pictures, and the indices of these."""
    batches = Loader(image_set, transform, Sequential(len(image_set), pictures), num_workers, keep=False)
    with progress(len(image_set)) as bar:
        for rows, batch in stream(batches.epoch(), net, ctx, fill):
            bar.update(len(batch.indices))
            yield rows, batch.indices


def progress(pictures: int) -> tqdm:
    """A bar over so many pictures that are read, on a terminal, with the time that is left."""
    terminal = sys.stderr.isatty()
    return tqdm(total=pictures, desc="features", unit=" pictures", leave=False, delay=2, disable=not terminal)


def _resize(backbone, size: int | None) -> Eval:
    size = size or backbone.input_size
    return Eval(size, size)


def cached(
    folder, backbone, image_set, size: int | None = None, int8: bool = False, transform: Eval | None = None,
    batch_size: int = 64, ctx=None, num_workers: int = 2, engine: Callable | None = None,
) -> np.ndarray:  # fmt: skip
    """`extract`, kept in a folder picture by picture: what was read once is not read again, whatever set it is in.

    The features of a picture are those that the same network, with the same weights, transform and type, gave for it.
    In INT8 these depend on the pictures that the ranges come from, so that only the same set, in the same order, is
    found again. Two processes that want the same features do not both extract them: one waits for the other. A file
    that is damaged is made again.

    Parameters
    ----------
    folder : path
        Where the features are kept; made if it is not there.
    backbone, image_set, size, int8, transform, batch_size, ctx, num_workers, engine
        See `extract`.

    Returns
    -------
    (n, width) float32

    Raises
    ------
    UserError
        The folder cannot be written.
    """
    transform, keys = transform or _resize(backbone, size), feature_store.keys(image_set)
    settings, pictures = transform.settings + " ".join(keys if int8 else []), transform.pictures(batch_size)

    def read(indices):
        net = prepare(backbone, image_set, transform.crop, int8, num_workers, engine)
        filled = min(pictures, len(image_set))
        return _read(net, image_set.subset(indices), transform, pictures, ctx, num_workers, filled)

    return store(folder, backbone, transform.crop, settings, int8, engine).fetch(keys, read)


def store(
    folder, backbone, size: int, settings: str, int8: bool = False, engine: Callable | None = None
) -> feature_store.FeatureStore:
    """Where the features that `backbone` gives are kept.

    Parameters
    ----------
    folder : path
        Holds a folder for each network.
    backbone : common.backbones.Backbone
        With the weights that it reads with.
    size : int
        Side in pixels of what it sees.
    settings : str
        How a picture becomes what it sees; in INT8 also what the ranges come from.
    int8, engine
        As in `prepare`.

    Returns
    -------
    FeatureStore
    """
    kind = f"-int8-{FORM}" if int8 else f"-{engine.__name__}" if engine else ""
    name = f"{backbone.name_}-{size}{kind}-{modelfile.digest(backbone, settings)[:16]}"
    return feature_store.FeatureStore(Path(folder) / name, backbone.width)
