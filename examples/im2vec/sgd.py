"""The learning rates and the weight decay that suit a data set: of train.py, and of the trainings on its halves."""

from __future__ import annotations

FACTORS = (1, 1.5, 2, 2.5, 3)  # of the default weight decay, tried in this order


def options(args, classes: int, objective: str, is_frozen: bool, decay: float) -> tuple[dict, dict]:
    """The options of SGD for the network, and for the class vectors.

    With negative sampling a picture updates only a few of many classes, so their vectors take larger steps. On frozen
    features a softmax takes smaller ones: f(x) is long there (its square some 2 * dim), and larger steps diverge.

    Parameters
    ----------
    args : argparse.Namespace
        ``lr`` (None: the default) and ``momentum``.
    classes : int
    objective : {"negative", "softmax", "hierarchical"}
    is_frozen : bool
        Whether f(x) is a linear layer on the features of a frozen backbone.
    decay : float
        Weight decay.
    """
    lr = args.lr or (0.01 if is_frozen and objective != "negative" else 0.1)
    multiplier = (classes / 10) ** 0.5 if objective == "negative" else 1
    network = {"learning_rate": lr, "momentum": args.momentum, "wd": decay}
    return network, {**network, "learning_rate": lr * multiplier}


def decays(given: float | None, classes: int, objective: str, is_frozen: bool) -> list[float]:
    """The weight decays to choose from: the one given, or the default and, on frozen features, larger ones.

    On frozen features the default falls with the square root of the number of classes. A softmax takes ten times as
    much: its gradient is not a mean over the k + 1 terms of a picture.
    """
    if given is not None or not is_frozen:
        return [5e-4 if given is None else given]
    default = 0.01 / classes**0.5 * (10 if objective == "softmax" else 1)
    return [default * factor for factor in FACTORS]
