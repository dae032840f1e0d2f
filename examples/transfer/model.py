"""A classifier of features, kept in one model file with the network that it was fine-tuned with, if it was."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from common.backbones.pooling import POOLINGS
from common.backbones.preprocessing import INTERPOLATIONS, MAX_SIDE
from common.data.samplers import balanced
from common.files import outside
from common.files.errors import UserError, reading

KIND = "transfer"
REMEDY = "it is not a classifier of train.py"
KINDS = ("logistic", "lda", "svm", "knn", "gluon")
PROBABILITIES = ("logistic", "lda", "gluon")  # whose scores become some by the softmax
ARRAYS = ("mean", "scale", "weight", "bias")
FIELDS = {
    "classifier": lambda found: found in KINDS, "classes": outside.texts, "backbone": dict, "k": outside.whole,
}  # fmt: skip
OF_NETWORK = {
    "name": str, "weights": str, "interpolation": lambda found: found in (*INTERPOLATIONS, "weights"), "seed": int,
}  # fmt: skip
LOOKS = {  # how a picture became what the network saw, where flags said so
    "resize": lambda found: outside.whole(found, high=MAX_SIDE),
    "keep_aspect": bool,
    "crop_share": lambda found: outside.number(found, 0.05, 1),
    "layer": lambda found: isinstance(found, int) and found != 0,
    "pooling": lambda found: found in POOLINGS,
    "views": outside.shares,
    "mean": lambda found: _three(found, 0),
    "deviation": lambda found: _three(found, 1),
}
OPTIONAL = {"size": lambda found: outside.whole(found, high=MAX_SIDE), **LOOKS}
OLD_TUNED = "backbone.params"  # in a classifier.npz of before: the network is in this file beside it


@dataclass
class Classifier:
    """A linear classifier, or the k nearest neighbours, on standardised features.

    Attributes
    ----------
    kind : str
        One of `KINDS`.
    classes : (c,) array of str
    mean, scale : (width,) float32
        A feature x becomes ``(x - mean) / scale``.
    weight, bias : (c, width) and (c,) float32
        The linear kinds. For knn: the (n, width) training features, and (n,) class numbers.
    backbone : dict
        Where the features come from: ``name``, ``weights``, ``interpolation``, ``seed``, and what of `OPTIONAL` was
        not the network's own.
    k : int
        Neighbours, for knn.
    parameters : dict of str to NDArray
        Of a fine-tuned network, by structural name; empty: ``weights`` says where they are.
    preprocessing : dict, optional
        Of a fine-tuned network, see `common.backbones.preprocessing.Preprocessing`.
    """

    kind: str
    classes: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    weight: np.ndarray
    bias: np.ndarray
    backbone: dict
    k: int = 5
    parameters: dict = field(default_factory=dict)
    preprocessing: dict | None = None

    def scores(self, features: np.ndarray) -> np.ndarray:
        """(n, c): logits, margins, or the fraction of the neighbours."""
        x = (np.subtract(features, self.mean, dtype=np.float64) / self.scale).astype(np.float32)
        if self.kind != "knn":
            return x @ self.weight.T + self.bias
        result = np.zeros((len(x), len(self.classes)))
        for start in range(0, len(x), 256):
            block = x[start : start + 256]
            distance = (self.weight**2).sum(1) - 2 * block @ self.weight.T
            nearest = np.argsort(distance, axis=1, kind="stable")[:, : self.k]
            for column in nearest.T:
                result[np.arange(start, start + len(block)), self.bias[column].astype(int)] += 1 / self.k
        return result

    def predict(self, features: np.ndarray) -> np.ndarray:
        """(n,) class numbers."""
        return self.scores(features).argmax(axis=1)

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """(n, c): how likely each class is; for svm, which knows no probabilities, its margins."""
        scores = self.scores(features)
        if self.kind not in PROBABILITIES:
            return scores
        exponentials = np.exp(scores - scores.max(axis=1, keepdims=True))
        return exponentials / exponentials.sum(axis=1, keepdims=True)

    def save(self, path, net=None) -> None:
        """Write a model file, see `common.backbones.modelfile`.

        Parameters
        ----------
        path : path
            Of the file, ``.params``.
        net : common.backbones.Backbone, optional
            The network, where it was fine-tuned.
        """
        from common.backbones import modelfile  # MXNet takes seconds

        metadata = {
            "classifier": self.kind,
            "classes": self.classes.tolist(),
            "k": self.k,
            "backbone": self.backbone,
            "preprocessing": net.preprocessing.to_dict() if net else None,
        }
        arrays = {name: getattr(self, name) for name in ARRAYS}
        modelfile.save(path, KIND, modelfile.values(net) if net else {}, metadata, arrays)


def load(path) -> Classifier:
    """The classifier in a model file, or in a ``classifier.npz`` of an older version; no code in it is run.

    Raises
    ------
    UserError
        There is no such file, or it is no classifier.
    """
    from common.backbones import modelfile

    path = Path(path)
    if path.suffix == ".npz":
        return _load_npz(path)
    file = modelfile.load(path, KIND, FIELDS, REMEDY)
    metadata = file.metadata
    with reading(path, REMEDY):
        missing = [name for name in ARRAYS if name not in file.arrays]
        if missing:
            raise ValueError(f"it has no {', '.join(missing)}")
        arrays = {name: file.arrays[name].asnumpy() for name in ARRAYS}
        loaded = Classifier(
            metadata["classifier"], np.array(metadata["classes"], str), **arrays, backbone=metadata["backbone"],
            k=metadata["k"], parameters=file.parameters, preprocessing=metadata.get("preprocessing"),
        )  # fmt: skip
        _check(loaded)
    return loaded


def _load_npz(path: Path) -> Classifier:
    """A classifier of before; a network that was fine-tuned is in two files beside it."""
    from common.backbones import modelfile

    with reading(path, REMEDY):
        arrays = outside.load_npz(path, ("about", "classes", *ARRAYS))
        metadata = outside.parse_json(str(arrays.pop("about")))
        metadata["classifier"] = metadata.get("kind")
        outside.check_fields(metadata, {name: test for name, test in FIELDS.items() if name != "classes"})
        loaded = Classifier(metadata["classifier"], backbone=metadata["backbone"], k=metadata["k"], **arrays)
        _check(loaded)
    if loaded.backbone.get("weights") == OLD_TUNED:
        remedy = "the files that train.py --fine-tune wrote are wanted"
        tuned = path.with_name(OLD_TUNED)
        if not tuned.is_file():
            raise UserError(f"{tuned} is not there: {remedy}")
        file = modelfile.load(tuned, KIND, {"preprocessing": dict}, remedy)
        loaded.parameters, loaded.preprocessing = file.parameters, file.metadata["preprocessing"]
    return loaded


def _check(loaded: Classifier) -> None:
    """See that the arrays belong together and are finite, and that the network is described."""
    if loaded.backbone.get("name"):
        outside.check_fields(loaded.backbone, OF_NETWORK)
        given = {name: test for name, test in OPTIONAL.items() if loaded.backbone.get(name) is not None}
        outside.check_fields(loaded.backbone, given)
    classes, (rows, width) = len(loaded.classes), loaded.weight.shape
    if loaded.classes.ndim != 1 or loaded.classes.dtype.kind != "U":
        raise ValueError("its classes are no list of names")
    if loaded.mean.shape != (width,) or loaded.scale.shape != (width,) or loaded.bias.shape != (rows,):
        raise ValueError("its arrays do not belong together")
    if not all(np.isfinite(getattr(loaded, name)).all() for name in ARRAYS) or not loaded.scale.all():
        raise ValueError("it holds numbers that are not finite, or a scale of zero")
    if rows != classes if loaded.kind != "knn" else not ((loaded.bias >= 0) & (loaded.bias < classes)).all():
        raise ValueError(f"its {rows} rows do not belong to {classes} classes")


def _three(value, low: int) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(outside.number(one, low, 255) for one in value)


def of_layer(head, classes, backbone: dict) -> Classifier:
    """The classifier that a dense layer on plain features is.

    Parameters
    ----------
    head : mxnet.gluon.nn.Dense
    classes : (c,) array
    backbone : dict
        See `Classifier`.
    """
    weight, bias = (p.data(p.list_ctx()[0]).asnumpy() for p in (head.weight, head.bias))
    plain = np.zeros(weight.shape[1], np.float32)
    return Classifier("gluon", np.asarray(classes).astype(str), plain, plain + 1, weight, bias, backbone)


def standard(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and scale, (width,) float64, that standardise features (n, width), however large these are."""
    return features.mean(axis=0, dtype=np.float64), features.std(axis=0, dtype=np.float64) + 1e-6


def fit(
    kind: str, features, labels, classes, backbone: dict, k: int = 5, seed: int = 123, balance: bool = False,
    kvstore=None, shrinkage: float | None = None,
) -> Classifier:  # fmt: skip
    """A classifier of `kind` for features (n, width) with class numbers `labels` (n,).

    With `balance` a class of few pictures counts as much as one of many: logistic and svm weigh them so, gluon draws
    them so, lda takes all classes for equally likely; knn does not know how. `shrinkage` is lda's, 0..1, of the
    covariance that all classes share; None: Ledoit and Wolf's, which takes near-duplicates for more evidence than
    they are. The workers of a `kvstore` (dist_sync) share out each batch of a dense layer
    (gluon); all end with the same one.
    """
    mean, scale = standard(features)
    x = ((features - mean) / scale).astype(np.float32)
    if kind == "knn":
        weight, bias = x, labels
    elif kind == "gluon":
        weight, bias = _gluon(x, labels, len(classes), seed, balance, kvstore)
    elif kind == "lda":
        weight, bias = _lda(x, labels, len(classes), balance, shrinkage)
    else:
        weight, bias = _sklearn(kind, x, labels, seed, balance)
    as_float = [np.asarray(array, np.float32) for array in (mean, scale, weight, bias)]
    return Classifier(kind, np.asarray(classes).astype(str), *as_float, backbone, min(k, len(x)))


def _sklearn(kind: str, x, labels, seed: int, balance: bool):
    from sklearn.linear_model import LogisticRegression
    from sklearn.svm import LinearSVC
    from sklearn.utils.class_weight import compute_sample_weight

    # Of each picture, since liblinear's weights of classes are not those of "the rest" against which each stands.
    weights = compute_sample_weight("balanced", labels) if balance else None
    if kind == "logistic":  # noqa: SIM108
        model = LogisticRegression(C=0.01, max_iter=300)
    else:
        model = LinearSVC(C=0.001, random_state=seed)
    model.fit(x, labels, sample_weight=weights)
    return _each_class(model.coef_, model.intercept_)


def _lda(x, labels, classes: int, balance: bool, shrinkage: float | None):
    """Gaussians that share one covariance: the classifier in closed form (Friedman 1989)."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    priors = np.full(classes, 1 / classes) if balance else None
    model = LinearDiscriminantAnalysis("lsqr", shrinkage="auto" if shrinkage is None else shrinkage, priors=priors)
    model.fit(x, labels)
    return _each_class(model.coef_, model.intercept_)


def _each_class(weight, bias):
    if len(weight) == 1:  # two classes: one score decides between them
        weight, bias = np.concatenate([-weight, weight]), np.concatenate([-bias, bias])
    return weight, bias


def _gluon(
    x, labels, classes: int, seed: int, balance: bool = False, kvstore=None, steps: int = 1000, batch: int = 64,
    rate: float = 5e-3,
):  # fmt: skip
    """A dense layer under softmax cross-entropy, by Adam: at least `steps` steps, 20 epochs; the rate falls to 0."""
    import mxnet as mx
    from mxnet import autograd, gluon

    from common import devices
    from common.train import optimizer

    mx.random.seed(seed)
    head = gluon.nn.Dense(classes, in_units=x.shape[1])
    head.initialize(mx.init.Zero())
    head.hybridize()
    epoch_steps = -(-len(x) // batch)
    epochs = max(20, -(-steps // epoch_steps))
    falling = mx.lr_scheduler.PolyScheduler(epochs * epoch_steps, rate, pwr=1)
    options = {"learning_rate": rate, "wd": 1e-2, "lr_scheduler": falling}
    rank, count = 0, 1
    if kvstore is not None and "_sync" in kvstore.type:
        rank, count = kvstore.rank, kvstore.num_workers
        trainer = optimizer.trainer([(head.collect_params(), "adam", options)], kvstore)
    else:
        trainer = gluon.Trainer(head.collect_params(), "adam", options)
    loss = gluon.loss.SoftmaxCrossEntropyLoss()
    data, wanted = mx.nd.array(x), mx.nd.array(labels)
    for epoch in range(epochs):
        rng = np.random.default_rng([seed, epoch])
        order = devices.put(balanced(labels, rng) if balance else rng.permutation(len(x)))
        for start in range(0, len(x), batch):
            chosen = order[start : start + batch]
            total = len(chosen) * (1 if len(chosen) >= count else count)
            if total == len(chosen):  # each worker takes a part; of fewer pictures than workers all take each
                chosen = chosen[rank::count]
            with autograd.record():
                value = loss(head(data.take(chosen)), wanted.take(chosen))
            value.backward()
            trainer.step(total)
    return head.weight.data().asnumpy(), head.bias.data().asnumpy()
