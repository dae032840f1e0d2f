"""Features of many pictures: decoded ahead while the network runs, in bounded memory, in float32 or INT8."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import mxnet as mx
import numpy as np

from common import devices
from common.backbones.quantize import CALIBRATION, quantize
from common.data.loader import Loader
from common.data.samplers import Sequential
from common.data.transforms import Eval
from common.files.disk import write_array, writing
from common.files.errors import UserError
from common.files.lock import Lock


def stream(batches, net, ctx=None, fill: bool = True) -> Iterator[tuple[np.ndarray, object]]:
    """The features of each batch, while the next batch is already being computed.

    Parameters
    ----------
    batches : iterable of common.data.loader.Batch, or of anything with `images` (n, H, W, 3) uint8
    net : callable
        A network, or a method of one.
    ctx : mx.Context, optional
    fill : bool
        Fill a last, smaller batch up with zeros, so that a network hybridized with static shapes uses its memory again.
        That changes the last digits of these features: matrix products round by their size.

    Yields
    ------
    features : (n, width) float32
    batch
        The batch they belong to.
    """
    ctx, size, waiting = ctx or mx.cpu(), None, None
    for batch in batches:
        size = size or len(batch.images)
        images = batch.images
        if fill and len(images) < size:
            images = np.concatenate([images, np.zeros((size - len(images), *images.shape[1:]), images.dtype)])
        result = net(devices.put(images, ctx)).copy()  # a static network overwrites its output
        if waiting:
            yield waiting[0].asnumpy()[: len(waiting[1].images)], waiting[1]
        waiting = result, batch
    if waiting:
        yield waiting[0].asnumpy()[: len(waiting[1].images)], waiting[1]


def encode(forward, batches, ctx=None, fill: bool = True) -> np.ndarray:
    """What a network gives for every picture, or for every row of features, in order.

    Parameters
    ----------
    forward, batches, ctx, fill
        As `net`, `batches`, `ctx` and `fill` of `stream`; `batches` such as those of `common.data.loader.Loader` or
        `common.data.features.FeatureSet` in order.

    Returns
    -------
    (n, d) float32
        (0, 0) where there is no batch.
    """
    rows = [values for values, _ in stream(batches, forward, ctx, fill)]
    return np.concatenate(rows) if rows else np.empty((0, 0), np.float32)


def prepare(backbone, image_set, size: int, int8: bool = False, num_workers: int = 2):
    """A network ready to read features: hybridized, or in INT8.

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

    Returns
    -------
    HybridBlock

    Raises
    ------
    UserError
        The network takes pictures of another size only.
    """
    if backbone.fixed_size and size != backbone.input_size and backbone.name_ != "conv4":
        raise UserError(f"{backbone.name_} takes pictures of {backbone.input_size} pixels only, not of {size}")
    if not int8:
        backbone.hybridize(static_alloc=True, static_shape=True)
        return backbone
    spread = np.linspace(0, len(image_set) - 1, min(len(image_set), CALIBRATION)).astype(int)
    return quantize(backbone, image_set.subset(np.unique(spread)).array(size, num_workers))


def extract(
    backbone, image_set, size: int | None = None, batch_size: int = 64, int8: bool = False, ctx=None, num_workers=2,
    transform: Eval | None = None,
) -> np.ndarray:
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

    Returns
    -------
    (n, width) float32
    """
    transform = transform or _resize(backbone, size)
    size = transform.crop
    batches = Loader(image_set, transform, Sequential(len(image_set), batch_size), num_workers, keep=False)
    net = prepare(backbone, image_set, size, int8, num_workers)
    result = np.empty((len(image_set), backbone.width), np.float32)
    for features, batch in stream(batches.epoch(), net, ctx):
        result[batch.indices] = features
    return result


def _resize(backbone, size: int | None) -> Eval:
    size = size or backbone.input_size
    return Eval(size, size)


def cached(
    folder, backbone, image_set, size: int | None = None, int8: bool = False, transform: Eval | None = None, **options
) -> np.ndarray:
    """`extract`, kept in a folder and read from there when network, weights, pictures, transform and type are the same.

    Two processes that want the same features do not both extract them: one waits for the other. A file that cannot be
    read, or holds something else, is made again.

    Parameters
    ----------
    folder : path
        Where the features are kept; made if it is not there.
    backbone, image_set, size, int8, transform, **options
        See `extract`.

    Returns
    -------
    (n, width) float32

    Raises
    ------
    UserError
        The folder cannot be written.
    """
    transform = transform or _resize(backbone, size)
    key = _key(backbone, image_set, transform)
    path = Path(folder) / f"{backbone.name_}-{transform.crop}{'-int8' * int8}-{key}.npy"
    shape = len(image_set), backbone.width
    found = _kept(path, shape)
    if found is not None:
        return found
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with Lock(path.with_suffix(".lock")):
        found = _kept(path, shape)  # another process may have made it meanwhile
        if found is None:
            found = extract(backbone, image_set, int8=int8, transform=transform, **options)
            write_array(path, found)
    return found


def _kept(path: Path, shape: tuple[int, int]) -> np.ndarray | None:
    """The features in file `path`; None where there are none that can be used."""
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, MemoryError, SyntaxError):  # not there, cut, or damaged
        return None
    whole = isinstance(found, np.ndarray) and found.shape == shape and found.dtype == np.float32
    return found if whole and np.isfinite(found).all() else None


def _key(backbone, image_set, transform: Eval) -> str:
    """A hash of weights, transform and pictures: of the pixels of arrays, of path, size and time of files."""
    total = hashlib.sha256(f"{transform.resize} {transform.crop} {transform.keep_aspect}".encode())
    for name, parameter in backbone._collect_params_with_prefix().items():
        total.update(name.encode())
        total.update(np.ascontiguousarray(parameter.data(parameter.list_ctx()[0]).asnumpy()))
    if image_set.in_memory:
        total.update(np.ascontiguousarray(image_set.images))
    else:
        for path in image_set.images:
            state = Path(path).stat()
            total.update(f"{path} {state.st_size} {state.st_mtime_ns}".encode())
        if image_set.boxes is not None:
            total.update(np.ascontiguousarray(image_set.boxes))
    return total.hexdigest()[:16]
