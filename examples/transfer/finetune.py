"""Train the last block of a backbone together with a classifier on it."""

from __future__ import annotations

import mxnet as mx
import numpy as np
from mxnet import autograd, gluon

from common import devices
from common.files.errors import UserError
from common.train import optimizer, trainer
from examples.transfer import inputs


def last_block(net, image_set, chosen, classifier, args, run, kvstore) -> None:
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
    kvstore : mx.kv.KVStore
        Sums the gradients of the devices and workers. Each worker takes batches of ``--batch-size`` from its share of
        the pictures, and cuts them into equal parts, one a device.
    """
    contexts = devices.contexts(args.gpus, args.num_cpus)
    workers = kvstore.num_workers
    share = -(-len(chosen) // workers)
    net.freeze_batch_norm()  # not record(train_mode=False): through oneDNN's pooling that gives wrong gradients
    early, late = net.early_late()
    for parameter in [*early, *net.normalize.collect_params().values()]:
        parameter.grad_req = "null"
    head = dense(classifier, args.seed, contexts)
    params = [*late, *head.collect_params().values()]
    updater = optimizer.trainer([(params, "adam", {"learning_rate": args.lr})], kvstore)
    loss = gluon.loss.SoftmaxCrossEntropyLoss()
    net.hybridize()
    head.hybridize()
    source = inputs.from_dataset(image_set)

    def batches(epoch, first):
        order = np.random.default_rng([args.seed, epoch]).permutation(chosen)
        order = np.resize(order, share * workers)[kvstore.rank :: workers]  # as many steps for each worker
        picked = inputs.Chosen(source, order)
        start = first * args.batch_size
        pieces = inputs.batches(
            picked, net.input_size, args.batch_size, args.interpolation, start=start, num_workers=args.num_workers
        )
        for batch in pieces:
            if batch.failed:
                raise UserError(next(iter(batch.failed.values())))
            yield batch.images, image_set.labels[order[batch.first : batch.first + len(batch.images)]]

    def step(item):
        parts = [devices.split(array, contexts) for array in filled(*item, len(contexts))]
        losses = []
        with autograd.record():
            for images, labels, weights in zip(*parts):
                losses.append(loss(head(net(images)), labels, weights))
        autograd.backward(losses)
        updater.step(sum(map(len, parts[1])) * workers)
        return {"loss": losses}

    trainer.fit(
        run,
        epochs=args.epochs,
        batches=batches,
        batches_per_epoch=-(-share // args.batch_size),
        step=step,
        blocks={"net": net, "head": head},
        trainers={"trainer": updater},
        start_epoch=lambda epoch: updater.optimizer.scale_rates(1 - epoch / args.epochs),
        seed=args.seed,
        rank=kvstore.rank,
    )


def filled(images, labels, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A batch made divisible by `count` devices, and what each row's loss counts.

    The last row is repeated, with a weight of 0; the others' weights keep the mean of the losses.

    Returns
    -------
    images, labels : arrays of m >= n rows
    weights : (m, 1) float32
    """
    n, m = len(labels), -(-len(labels) // count) * count
    rows = np.minimum(np.arange(m), n - 1)
    weights = np.where(np.arange(m) < n, m / n, 0).astype(np.float32).reshape(-1, 1)
    return images[rows], labels[rows], weights


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
