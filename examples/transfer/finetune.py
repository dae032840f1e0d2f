"""What fine-tuning moves, starts from, minimises and keeps; its loop stands in train.py."""

from __future__ import annotations

import mxnet as mx
import numpy as np
from mxnet import gluon

from common.backbones import modelfile
from common.files.errors import UserError
from common.train.schedule import one_cycle
from common.train.workers import SharedEvaluation
from examples.transfer import data, evaluation, model, networks

BEST = "validation_accuracy"  # of the epoch that is kept, where there are validation pictures
SCHEDULES = {  # the learning rate's factor after `epoch` epochs and the fraction `within` of the next one
    "linear": lambda epoch, within, epochs: 1 - epoch / epochs,
    "one-cycle": lambda epoch, within, epochs: one_cycle((epoch + within) / epochs),
}


def sides(net, args) -> list[int]:
    """The side in pixels of the pictures that are trained on, in equal parts of the epochs one after the other.

    Smaller ones than those judged on are not only faster: windows of `--crop-area` show things larger than whole
    pictures do (Touvron et al. 2019: Fixing the train-test resolution discrepancy). Growing ones save most of the time
    of large ones (Tan, Le 2021: EfficientNetV2, section 4.2).

    Raises
    ------
    UserError
        The network takes pictures of one size only, and it is another.
    """
    sizes = args.train_size or [net.input_size]
    sizes = [sizes] if isinstance(sizes, int) else sizes  # a run of when there was one
    if net.fixed_size and set(sizes) != {net.input_size}:
        given = ",".join(map(str, sizes))
        raise UserError(f"--train-size {given}: {net.name_} takes pictures of {net.input_size} pixels only")
    return sizes


def groups(net, head, args) -> list[tuple]:
    """The parameters that are trained, for `common.train.optimizer.trainer`; all others of `net` are frozen.

    Parameters
    ----------
    net : common.backbones.Backbone
        Called before it is hybridized.
    head : mxnet.gluon.nn.Dense
    args : argparse.Namespace
        Of train.py. A rate of its own makes the head a group of its own.
    """
    own = all_layers(net, args.freeze_batch_norm) if args.fine_tune_layers == "all" else last_block(net)
    of_head = list(head.collect_params().values())
    options = {"learning_rate": args.lr, "wd": args.weight_decay}
    if args.lr_head is None:
        return [([*own, *of_head], args.optimizer, options)]
    return [(own, args.optimizer, options), (of_head, args.optimizer, {**options, "learning_rate": args.lr_head})]


def all_layers(net, freeze_batch_norm: bool = False) -> list[gluon.Parameter]:
    """The parameters of all layers of `net`, whose batch norms learn from the batches unless they are to be frozen.

    Parameters
    ----------
    net : common.backbones.Backbone
    freeze_batch_norm : bool
    """
    net.follow_batches()
    if freeze_batch_norm:
        net.freeze_batch_norm()
    _freeze(net.normalize.collect_params().values())
    early, late = net.early_late()
    return [*early, *late]


def last_block(net) -> list[gluon.Parameter]:
    """The parameters of the last block of `net`; all others are frozen, and batch norms stay as they were pretrained.

    Parameters
    ----------
    net : common.backbones.Backbone
    """
    net.freeze_batch_norm()  # not record(train_mode=False): through oneDNN's pooling that gives wrong gradients
    early, late = net.early_late()
    _freeze([*early, *net.normalize.collect_params().values()])
    return late


def _freeze(parameters) -> None:
    for parameter in parameters:
        parameter.grad_req = "null"


def dense(classifier, seed: int, ctx) -> gluon.nn.Dense:
    """A dense layer that gives the scores of a classifier for plain features.

    So the block's first steps do not follow a random head (Kumar et al. 2022: Fine-Tuning can Distort Pretrained
    Features and Underperform Out-of-Distribution).

    Parameters
    ----------
    classifier : examples.transfer.model.Classifier
        For k-NN, which has no weights, the layer is random.
    seed : int
    ctx : mx.Context or list
    """
    mx.random.seed(seed)
    width = len(classifier.mean)
    head = gluon.nn.Dense(len(classifier.classes), in_units=width)
    head.initialize(mx.init.Xavier(), ctx=ctx)
    if classifier.kind != "knn":
        weight = classifier.weight / classifier.scale
        head.weight.set_data(mx.nd.array(weight))
        head.bias.set_data(mx.nd.array(classifier.bias - weight @ classifier.mean))
    return head


class CrossEntropy(gluon.loss.SoftmaxCrossEntropyLoss):
    r"""Softmax cross-entropy to :math:`(1 - \epsilon) \cdot` the picture's class :math:`+ \epsilon / K` for each of K.

    Parameters
    ----------
    classes : int
    smoothing : float
        :math:`\epsilon`, 0..1.
    mixed : bool
        A label is the wanted probability of each class, :math:`p`, of which :math:`(1 - \epsilon) p` is left.

    References
    ----------
    C. Szegedy et al.: Rethinking the Inception Architecture for Computer Vision. CVPR 2016, section 7.
    """

    def __init__(self, classes: int, smoothing: float = 0.0, mixed: bool = False):
        super().__init__(sparse_label=not (smoothing or mixed))
        self.classes, self.smoothing, self.mixed = classes, smoothing, mixed

    def hybrid_forward(self, F, pred, label, sample_weight=None):
        """Losses (n,) of scores (n, classes), labels (n,) or (n, classes), and the samples' weights (n, 1)."""
        each = self.smoothing / self.classes
        if self.mixed:
            label = label * (1 - self.smoothing) + each
        elif self.smoothing:
            label = F.one_hot(label, self.classes, on_value=1 - self.smoothing + each, off_value=each)
        return super().hybrid_forward(F, pred, label, sample_weight)


class Average:
    r"""An exponential moving average of all numbers of a network and its head, batch norms' statistics included.

    .. math:: \bar w_t = \bar w_{t-1} + (1 - \beta_t) (w_t - \bar w_{t-1}), \quad
        \beta_t = \min(\beta, \tfrac{1 + t}{10 + t})

    which forgets the first weights in a short training too.

    Parameters
    ----------
    net : common.backbones.Backbone
        With values: the average starts as they are.
    head : mxnet.gluon.nn.Dense
    decay : float
        :math:`\beta`.

    Attributes
    ----------
    net, head
        That hold the average, on the first device.

    References
    ----------
    B. Polyak, A. Juditsky: Acceleration of Stochastic Approximation by Averaging. 1992; with :math:`\beta_t` as
    TensorFlow's ExponentialMovingAverage has it.
    """

    def __init__(self, net, head: gluon.nn.Dense, decay: float):
        self.decay, ctx = decay, head.weight.list_ctx()[0]
        self.net = networks.tuned(net.name_, net.preprocessing.to_dict(), modelfile.values(net), ctx, **net.taken)
        self.head = gluon.nn.Dense(head.weight.shape[0], in_units=head.weight.shape[1])
        modelfile.fill(self.head, modelfile.values(head), ctx)
        self.net.hybridize()
        self._pairs = []  # of arrays: the average of a parameter, and its value, which the trainer overwrites
        self._statistics = []  # these and the scale of their batch norm
        for kept, learned in ((self.net, net), (self.head, head)):
            averages, values = modelfile.values(kept), modelfile.values(learned)
            for name, average in averages.items():
                norm, _, last = name.rpartition(".")
                if last in ("running_mean", "running_var"):
                    self._statistics.append((average, values[name], values[f"{norm}.gamma"]))
                else:
                    self._pairs.append((average, values[name]))

    def update(self, step: int) -> None:
        """Take in the weights after step number `step`, from 0."""
        rest = 1 - min(self.decay, (1 + step) / (10 + step))
        for average, value in self._pairs:
            average += rest * (value - average)
        # The backward pass of a batch norm and ReLU in one writes the statistics, and MXNet's engine does not know: it
        # would read them before. The trainer writes the scale after that pass, so what needs both waits for it.
        for average, value, scale in self._statistics:
            average += rest * (value + 0 * scale - average)


class Tuning:
    """What is evaluated and kept of a fine-tuning: the network with its own head, or the average of both.

    Parameters
    ----------
    net : common.backbones.Backbone
    head : mxnet.gluon.nn.Dense
    loaded : examples.transfer.data.Data
    args : argparse.Namespace
        Of train.py.
    run : common.run.Run
    config : dict
        Where the features come from, see `examples.transfer.model.Classifier`.
    kvstore : mx.kv.KVStore
        Of the workers, who share out the validation pictures.

    Attributes
    ----------
    blocks : dict of str to gluon.Block
        All that a checkpoint has to hold.
    best : str or None
        The metric that decides on the epoch that is kept; without validation pictures the last one is.
    """

    def __init__(self, net, head: gluon.nn.Dense, loaded: data.Data, args, run, config: dict, kvstore):
        self.average = Average(net, head, args.average) if args.average else None
        self.net, self.head = (self.average.net, self.average.head) if self.average else (net, head)
        self.blocks = {"net": net, "head": head}
        if self.average:
            self.blocks.update({"average_net": self.net, "average_head": self.head})
        self.best = BEST if len(loaded.validation) else None
        self._loaded, self._args, self._config = loaded, args, config
        self._shared = SharedEvaluation(kvstore, self.net)
        self._file = run.folder / "best.params"
        self._held = loaded.image_set.subset(loaded.validation) if self.best else None

    def update(self, step: int) -> None:
        """Take in the weights after step number `step`, from 0."""
        if self.average:
            self.average.update(step)

    def classifier(self) -> model.Classifier:
        """The head as it is now."""
        return model.of_layer(self.head, self._loaded.class_names, self._config)

    def evaluate(self) -> dict:
        """The metric that decides, where there are validation pictures."""
        if not self.best:
            return {}

        def read(start, stop):
            part = self._held.subset(np.arange(start, stop))
            return data.embed(self._args, self.net, part, self.head.weight.list_ctx()[0])

        vectors = self._shared.rows(read, len(self._held), self._args.batch_size)
        return {BEST: evaluation.accuracy(self.classifier(), vectors, self._held.labels)}

    def save(self, metrics: dict) -> None:
        """Keep network and head, since this epoch is the best so far."""
        self.classifier().save(self._file, self.net)

    def finish(self) -> tuple:
        """Network and classifier of the epoch that is kept."""
        if not self.best:
            return self.net, self.classifier()
        found = model.load(self._file)
        modelfile.fill(self.net, found.parameters)
        return self.net, found
