"""Many workers on one kvstore: keys for each Trainer, what the first worker decides, the bytes that a step moves."""

from __future__ import annotations

import contextlib
import math
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping

import mxnet as mx
import numpy as np
from mxnet import gluon

from common import devices
from common.backbones import features

PACKED = 16  # numbers of two bits in one that is sent
_used: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def reserve(store: mx.kv.KVStore, count: int = 1) -> int:
    """The first of `count` keys of a store that nothing else uses.

    A second value under a key counts as a gradient there. All workers reserve in the same order, so they agree.

    Parameters
    ----------
    store : mx.kv.KVStore
    count : int
    """
    first = _used.get(store, 0)
    _used[store] = first + count
    return first


def between_machines(trainers: Iterable[gluon.Trainer]) -> mx.kv.KVStore | None:
    """The store by which several workers step together; None for one worker, and where they do not wait for each other.

    Parameters
    ----------
    trainers : iterable of gluon.Trainer
    """
    stores = (trainer._kvstore_params["kvstore"] for trainer in trainers)
    return next((store for store in stores if _in_step(store)), None)


def _in_step(store) -> bool:
    return isinstance(store, mx.kv.KVStore) and "_sync" in store.type and store.num_workers > 1


def of_first(store: mx.kv.KVStore | None, figures: Mapping[str, float]) -> dict[str, float]:
    """The figures of the first worker, for all: what they decide, such as to stop early, is decided alike.

    Parameters
    ----------
    store : mx.kv.KVStore or None
        None: there is one worker.
    figures : mapping of str to float
        Of this worker, with the same names as the first's.
    """
    if store is None or not figures:
        return dict(figures)
    mine = np.array(list(figures.values()), np.float64)
    sent = mx.nd.array(np.frombuffer(mine.tobytes(), np.uint8), dtype="float32")  # bytes: a store has float32 for sure
    found = np.frombuffer(_broadcast(store, sent).asnumpy().astype(np.uint8).tobytes(), np.float64)
    return {name: type(value)(number) for (name, value), number in zip(figures.items(), found)}


def follow_first(store: mx.kv.KVStore | None, block: gluon.Block) -> None:
    """Give a block the parameters of the first worker, batch norms' statistics too, which each worker has of its own.

    Parameters
    ----------
    store : mx.kv.KVStore or None
        As in `of_first`.
    block : gluon.Block
    """
    for parameter in block.collect_params().values() if store is not None else ():
        values = parameter.list_data()[0].asnumpy()  # a store cannot read oneDNN's own order
        parameter.set_data(_broadcast(store, devices.put(values)))


def _broadcast(store: mx.kv.KVStore, values: mx.nd.NDArray) -> mx.nd.NDArray:
    """The first worker's values. Under a new key: the first value of a key is never compressed."""
    key = reserve(store)
    mx.nd.waitall()
    store.init(key, values)
    found = mx.nd.empty(values.shape, dtype=values.dtype)
    store.pull(key, found)
    found.wait_to_read()
    return found


def smallest(store: mx.kv.KVStore | None, numbers: tuple[int, ...]) -> tuple[int, ...]:
    """The smallest of all workers' tuples of numbers below 2^32.

    They travel as bits, each nought or the threshold, which come through the compression of gradients as they are.

    Parameters
    ----------
    store : mx.kv.KVStore or None
        As in `of_first`.
    numbers : tuple of int
    """
    if store is None:
        return numbers
    one = devices.threshold(store) or 1.0
    bits = np.zeros((store.num_workers, len(numbers), 32), np.float32)
    bits[store.rank] = np.unpackbits(np.array(numbers, ">u4").view(np.uint8)).reshape(len(numbers), 32) * one
    key, sent = reserve(store), mx.nd.array(bits)
    store.init(key, mx.nd.zeros_like(sent))
    store.push(key, sent)
    store.pull(key, sent)
    rows = np.packbits(sent.asnumpy() > 0, axis=-1).view(">u4")[..., 0]
    return min(tuple(map(int, row)) for row in rows)


class SharedEvaluation:
    """An evaluation of which each of several workers reads a part; all get the whole.

    All workers have to ask for the same, in the same order. For one worker, for workers that do not wait for each
    other, and where gradients are compressed, which would change what is read, each reads all by itself.

    Parameters
    ----------
    store : mx.kv.KVStore
    net : gluon.Block
        The network that reads. Its batch norms have the first worker's statistics meanwhile, as what is saved has.
    """

    def __init__(self, store: mx.kv.KVStore, net: gluon.Block):
        self._store = store if _in_step(store) and devices.threshold(store) is None else None
        self._net, self._keys = net, {}

    def end(self) -> None:
        """From now on each worker reads by itself."""
        self._store = None

    def encode(self, forward: Callable, loader, ctx=None, fill: bool | int = True, head: Callable | None = None):
        """What a network gives for every picture of a loader in order, see `common.backbones.features.encode`.

        Parameters
        ----------
        forward, ctx, fill, head
            As there.
        loader : common.data.loader.Loader or common.data.features.FeatureSet
            Its sampler is a `common.data.samplers.Sequential`.

        Returns
        -------
        (n, d) float32
        """
        count, batch = loader.sampler.n, loader.sampler.batch_size
        size = min(count, batch) if fill is True else fill

        def read(start, stop):
            return features.encode(forward, loader.epoch(0, start // batch, -(-stop // batch)), ctx, size, head)

        return self.rows(read, count, batch)

    def rows(self, read: Callable[[int, int], np.ndarray], count: int, batch: int) -> np.ndarray:
        """What is read of `count` pictures.

        Parameters
        ----------
        read : callable (start, stop) -> (stop - start, d) float32
            Reads the pictures from `start`, where a batch begins, to `stop`.
        count : int
            The same for all workers, as is `batch`.
        batch : int
            Pictures in a batch: parts are whole batches, and so what one worker would read bit for bit.

        Returns
        -------
        (count, d) float32
        """
        store, batches = self._store, -(-count // batch)
        if store is None or batches < store.num_workers:
            return read(0, count)
        start, stop = (min(batches * rank // store.num_workers * batch, count) for rank in (store.rank, store.rank + 1))
        with self._statistics_of_first():
            part = read(start, stop)
        whole = np.zeros((count, *part.shape[1:]), np.float32)
        whole[start:stop] = part
        return self.total(whole)

    @contextlib.contextmanager
    def _statistics_of_first(self) -> Iterator[None]:
        parameters = self._net.collect_params(".*_running_(mean|var)").values()
        own = [p.list_data()[0].asnumpy() for p in parameters]
        if not own:
            yield
            return
        mine = np.concatenate(own) * (self._store.rank == 0)
        parts = np.split(self.total(mine), np.cumsum([len(values) for values in own])[:-1])
        for values in (parts, own):
            for parameter, value in zip(parameters, values):
                parameter.list_data()[0][:] = devices.put(value)
            if values is parts:
                yield

    def total(self, mine: np.ndarray) -> np.ndarray:
        """The sum of all workers' arrays; of what only one has, and the others have noughts, it is that.

        Parameters
        ----------
        mine : float32 array
            Of one shape in all workers.
        """
        sent = devices.put(mine)
        if mine.shape not in self._keys:
            self._keys[mine.shape] = reserve(self._store)
            self._store.init(self._keys[mine.shape], mx.nd.zeros_like(sent))
        found = mx.nd.empty(mine.shape)
        self._store.push(self._keys[mine.shape], sent)
        self._store.pull(self._keys[mine.shape], found)
        return found.asnumpy()


def traffic(trainer: gluon.Trainer) -> tuple[int, int]:
    r"""Bytes that a worker sends and receives in a step, from the sizes of the parameters that learn.

    With :math:`n` numbers of 4 bytes in a parameter it sends and receives :math:`4 n`, and sends compressed
    :math:`4 \lceil n / 16 \rceil` (an array of over a million numbers lies on all servers, and is rounded up on each).
    Nothing where the kvstore is of one machine.

    Parameters
    ----------
    trainer : gluon.Trainer

    Returns
    -------
    sent, received : int
    """
    store = trainer._kvstore_params["kvstore"]
    if not isinstance(store, mx.kv.KVStore) or "dist" not in store.type:
        return 0, 0
    sizes = [math.prod(p.shape) for p in trainer._params if p.grad_req != "null"]
    received = 4 * sum(sizes)
    return (4 * sum(-(-n // PACKED) for n in sizes) if devices.threshold(store) else received), received
