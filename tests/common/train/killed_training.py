"""A training for test_checkpoint.py to kill: dropout, batch norm, Adam, two contexts, the margin loss's own draws."""

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

import common  # noqa: F401  (first: MXNet needs the numpy alias it sets)

# isort: split
import mxnet as mx
import numpy as np
from mxnet import autograd, gluon

from common import devices
from common.data.loader import Batch
from common.data.samplers import ClassBalanced
from common.run import Run
from common.train import optimizer, schedule
from common.train.losses import MarginLoss
from common.train.miners import DistanceWeightedMiner
from common.train.session import Session

folder, resume = Path(sys.argv[1]), "--resume" in sys.argv
contexts = [mx.cpu(0), mx.cpu(1)]
features = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
labels = np.repeat(np.arange(10), 6)
sampler = ClassBalanced(labels, 12, 3, batches=12, seed=1, devices=2)
mx.random.seed(1)
net = gluon.nn.HybridSequential()
net.add(
    gluon.nn.Dense(16, activation="relu", in_units=8),
    gluon.nn.BatchNorm(in_channels=16),
    gluon.nn.Dropout(0.3),
    gluon.nn.Dense(6, in_units=16),
    gluon.nn.HybridLambda("L2Normalization"),
)
net.initialize(mx.init.Xavier(), ctx=contexts)
net.hybridize(static_alloc=True, static_shape=True)
loss, miner = MarginLoss(10, nu=0.01), DistanceWeightedMiner(6, 3)
loss.initialize(ctx=contexts)
options = [(net.collect_params(), "adam", {"learning_rate": 0.01}), (loss.collect_params(), "sgd", {"momentum": 0.9})]
updater = optimizer.trainer(options)


class Slow:
    """Takes long enough for a kill to fall inside an epoch."""

    def __len__(self):
        return 12

    def epoch(self, epoch, start):
        for number, indices in list(enumerate(sampler.epoch(epoch)))[start:]:
            time.sleep(0.02)
            yield Batch(features[indices], labels[indices], indices, number)


blocks = {"net": net, "loss": loss}
session = Session(
    Run(folder, argparse.Namespace(), resume), blocks=blocks, trainers={"trainer": updater}, log_interval=3,
    checkpoint_batches=2, seed=3,
)  # fmt: skip
for epoch in session.epochs(6):
    updater.optimizer.scale_rates(schedule.step_factor(epoch, [2, 4], 0.5))
    for batch in session.batches(Slow(), epoch):
        losses = []
        with autograd.record():
            for x, y in zip(devices.split(batch.images, contexts), devices.split(batch.labels, contexts)):
                embeddings = net(x)
                with autograd.pause():
                    pairs = miner(embeddings, y)
                losses.append(loss(embeddings, y, pairs))
        autograd.backward(losses)
        updater.step(len(batch.labels))
        session.add(loss=losses)
    session.close_epoch()
arrays = {
    f"{block}/{name}/{device}": array.asnumpy()
    for block in blocks
    for name, parameter in blocks[block]._collect_params_with_prefix().items()
    for device, array in enumerate(parameter.list_data())
}
np.savez(folder / "parameters.npz", **arrays)
