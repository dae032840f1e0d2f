"""Train the last block of a backbone together with a classifier on it."""

from __future__ import annotations

import mxnet as mx
import numpy as np
from mxnet import autograd, gluon

from common import devices
from common.files.errors import UserError
from common.train import trainer
from examples.transfer import inputs


def last_block(net, image_set, chosen, classifier, args, run) -> None:
    """Fit `net`'s last block in place, on the pictures `chosen` of `image_set`; all before it stays as it is.

    The head starts as `classifier` where that is linear, so that the block's first steps do not follow a random one
    (Kumar et al. 2022: Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution). Batch norms
    stay as they were pretrained.

    Parameters
    ----------
    net : common.backbones.Backbone
    image_set : common.data.sets.ImageSet
    chosen : (m,) array of int
        Pictures to learn from.
    classifier : model.Classifier
        Of the features as they are now.
    run : common.run.Run
        Takes the checkpoints; where it is resumed, training goes on after the newest.
    """
    ctx = devices.contexts(args.gpus)[0]
    net.freeze_batch_norm()  # not record(train_mode=False): through oneDNN's pooling that gives wrong gradients
    early, late = net.early_late()
    for parameter in [*early, *net.normalize.collect_params().values()]:
        parameter.grad_req = "null"
    head = dense(classifier, args.seed, ctx)
    params = [p for p in [*late, *head.collect_params().values()] if p.grad_req != "null"]
    updater = gluon.Trainer(params, "adam", {"learning_rate": args.lr}, update_on_kvstore=False)
    loss = gluon.loss.SoftmaxCrossEntropyLoss()
    net.hybridize()
    head.hybridize()
    source = inputs.from_dataset(image_set)

    def batches(epoch, first):
        order = np.random.default_rng([args.seed, epoch]).permutation(chosen)
        picked = inputs.Chosen(source, order)
        start = first * args.batch_size
        pieces = inputs.batches(
            picked, net.input_size, args.batch_size, args.interpolation, start=start, num_workers=args.num_workers
        )
        for batch in pieces:
            if batch.failed:
                raise UserError(next(iter(batch.failed.values())))
            yield batch, image_set.labels[order[batch.first : batch.first + len(batch.images)]]

    def step(item):
        batch, labels = item
        wanted = devices.put(labels, ctx)
        with autograd.record():
            value = loss(head(net(devices.put(batch.images, ctx))), wanted)
        value.backward()
        updater.step(len(labels))
        return {"loss": value}

    trainer.fit(
        run,
        epochs=args.epochs,
        batches=batches,
        batches_per_epoch=-(-len(chosen) // args.batch_size),
        step=step,
        blocks={"net": net, "head": head},
        trainers={"trainer": updater},
        start_epoch=lambda epoch: updater.set_learning_rate(args.lr * (1 - epoch / args.epochs)),
        seed=args.seed,
    )


def dense(classifier, seed: int, ctx) -> gluon.nn.Dense:
    """A dense layer that gives `classifier`'s scores for plain features; for k-NN, without weights, a random one."""
    mx.random.seed(seed)
    width = len(classifier.mean)
    head = gluon.nn.Dense(len(classifier.classes), in_units=width)
    head.initialize(mx.init.Xavier(), ctx=ctx)
    if classifier.kind != "knn":
        weight = classifier.weight / classifier.scale
        head.weight.set_data(mx.nd.array(weight))
        head.bias.set_data(mx.nd.array(classifier.bias - weight @ classifier.mean))
    return head
