"""Negatives across devices and workers: the embeddings of all of them as one batch for miner and loss."""

from __future__ import annotations

from collections.abc import Sequence

import mxnet as mx
from mxnet import autograd, gluon

from common.train import workers


class Gather:
    r"""What devices and workers embedded, as one batch on each worker's first device.

    ::

        with autograd.record():
            parts = [(net(x), y) for x, y in zip(images, labels)]   # one a device
            [(embeddings, labels)] = gather(parts)
            value = loss(embeddings, labels, miner(embeddings, labels))
        value.backward()
        gather.backward(loss)
        trainer.step(len(embeddings))

    A loss of pairs, taken in each device's part alone, knows no pair of two devices. Here every worker computes the
    whole loss :math:`\ell(e_1, \ldots, e_n)`, with the same random numbers in all of them, and sends back through its
    network :math:`\partial \ell / \partial e_i` of the rows that are its own; the sum of the workers' gradients, which
    the Trainer makes, is that of the whole batch. What the loss learns gets its whole gradient in each worker, and
    therefore a share of it. Between workers an array travels in which each has filled in its own rows, so that the
    store's sum is all of them: :math:`4 n (d + 1)` bytes each way. The host waits for nothing.

    Parameters
    ----------
    contexts : list of mx.Context
        This worker's devices.
    store : mx.kv.KVStore
        By which the workers step together; of one worker any.
    rows : int
        Embeddings of one worker in a batch.
    embed_dim : int
    """

    def __init__(self, contexts: Sequence[mx.Context], store: mx.kv.KVStore, rows: int, embed_dim: int):
        self._contexts, self._rows, self._parts, self._gathered = list(contexts), rows, [], None
        self._workers, self._rank, self._store = store.num_workers, store.rank, store
        if self._workers > 1:
            self._key = workers.reserve(store)
            mx.nd.waitall()
            store.init(self._key, mx.nd.zeros((self._workers * rows, embed_dim + 1)))

    def __call__(self, parts: Sequence[tuple]) -> list[tuple]:
        """Gather one batch.

        Parameters
        ----------
        parts : sequence of (embeddings, labels)
            (rows / devices, embed_dim) and (rows / devices,) arrays, one pair a device, in their order.

        Returns
        -------
        list of one (embeddings, labels)
            (n, embed_dim) float32 with a gradient of their own, and (n,) int32, on the first device: those of the
            first worker's devices, then the second's, and so on.
        """
        with autograd.pause():
            embeddings, labels = (
                mx.nd.concat(*(x.detach().as_in_context(self._contexts[0]).astype("float32") for x in column), dim=0)
                for column in zip(*parts)
            )
            if self._workers > 1:
                embeddings, labels = self._exchange(embeddings, labels)
        embeddings.attach_grad()
        self._parts, self._gathered = [part for part, _ in parts], embeddings
        return [(embeddings, labels.astype("int32"))]

    def _exchange(self, embeddings, labels) -> tuple:
        """All workers' rows, by the sum of what each has of them."""
        own = mx.nd.concat(embeddings, labels.expand_dims(1), dim=1).as_in_context(mx.cpu())
        before, behind = (
            mx.nd.zeros((count * self._rows, own.shape[1])) if count else None
            for count in (self._rank, self._workers - 1 - self._rank)
        )
        every = mx.nd.concat(*(part for part in (before, own, behind) if part is not None), dim=0)
        self._store.push(self._key, every)
        found = mx.nd.empty(every.shape)
        self._store.pull(self._key, found)
        found = found.as_in_context(self._contexts[0])
        return found[:, :-1].copy(), found[:, -1].copy()

    def backward(self, loss: gluon.Block) -> None:
        """Go on from the gradients of the gathered embeddings, back through each device's network.

        Parameters
        ----------
        loss : gluon.Block
            Whose value was differentiated. Of several devices the first one has the gradients of what it learns.
        """
        for parameter in loss.collect_params().values():
            if parameter.grad_req != "null":
                first, *others = parameter.list_grad()
                first /= self._workers
                for gradient in others:
                    gradient[:] = 0
                for value in parameter.list_data():  # else the Trainer takes a gradient for one of an earlier step
                    value._fresh_grad = True
        own = self._gathered.grad[self._rank * self._rows : (self._rank + 1) * self._rows]
        of_parts = mx.nd.split(own, len(self._parts), axis=0) if len(self._parts) > 1 else [own]
        heads = [
            gradient.astype(part.dtype).as_in_context(part.context) for gradient, part in zip(of_parts, self._parts)
        ]
        autograd.backward(self._parts, heads)
        self._parts, self._gathered = [], None
