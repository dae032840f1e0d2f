"""Train the last block of a backbone together with a classifier on it."""

from __future__ import annotations

import mxnet as mx
import numpy as np
from mxnet import autograd, gluon

from examples.transfer import inputs


def last_block(net, source, chosen, labels, classes: int, args, log) -> None:
    """Fit `net`'s last block in place, on the pictures `chosen` of `source`; all before it stays as it is.

    Parameters
    ----------
    net : common.backbones.Backbone
    source : inputs.Files
    chosen : (m,) array of int
        Pictures to learn from.
    labels : (n,) array of int
        Of all pictures of `source`.
    """
    early, late = net.early_late()
    for parameter in [*early, *net.normalize.collect_params().values()]:
        parameter.grad_req = "null"
    mx.random.seed(args.seed)
    head = gluon.nn.Dense(classes, in_units=net.width)
    head.initialize(mx.init.Xavier())
    params = {p.name: p for p in [*late, *head.collect_params().values()] if p.grad_req != "null"}
    trainer = gluon.Trainer(params, "adam", {"learning_rate": args.lr})
    loss = gluon.loss.SoftmaxCrossEntropyLoss()
    net.hybridize()
    head.hybridize()
    for epoch in range(args.epochs):
        order = np.random.default_rng([args.seed, epoch]).permutation(chosen)
        shuffled = inputs.Files([source.paths[i] for i in order], labels[order], [source.rows[i] for i in order])
        pieces = inputs.batches(
            shuffled, net.input_size, args.batch_size, args.interpolation, num_workers=args.num_workers
        )
        total = 0.0
        for batch in pieces:
            wanted = mx.nd.array(shuffled.labels[batch.first : batch.first + len(batch.images)])
            with autograd.record(train_mode=False):  # batch norm keeps the statistics it was pretrained with
                value = loss(head(net(mx.nd.array(batch.images, dtype="uint8"))), wanted)
            value.backward()
            trainer.step(len(batch.images))
            total += float(value.sum().asscalar())
        log(f"fine-tuning epoch {epoch + 1}: loss {total / len(order):.4f}")
