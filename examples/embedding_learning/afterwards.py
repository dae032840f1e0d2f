"""What can be had from a trained embedding without more training: whitened, as bits, ranked anew by neighbours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from common import metrics
from common.metrics import rerank
from examples.embedding_learning import evaluation, linear, model

SETTINGS = {  # tried on validation pictures; the first one, the paper's, where there are none
    "k-reciprocal": [
        {"k1": k1, "k2": k2, "lambda_": share} for k1, k2 in ((20, 6), (10, 3), (5, 2), (3, 1)) for share in (0.3, 0.7)
    ],
    "query expansion": [{"k": k, "alpha": alpha} for k in (10, 5, 2, 1) for alpha in (3.0, 0.0)],
    "augmented database": [{"k": k, "alpha": alpha} for k in (10, 5, 2, 1) for alpha in (3.0, 0.0)],
}  # fmt: skip
CHOSEN_BY = "map@r"  # re-ranking mends the whole list more than its first place


def ranked(tested: evaluation.Tested, method: str, settings: dict) -> metrics.Retrieval:
    """Look for the pictures of a split with one of `SETTINGS`.

    Parameters
    ----------
    tested : examples.embedding_learning.evaluation.Tested
    method : str
    settings : dict
        Of `common.metrics.rerank.KReciprocal` or `common.metrics.rerank.Expanded`.
    """
    asked, rows, (among, base), own = tested.split()
    labels = asked.labels if among is None else among.labels
    if base is None:
        base, own = rows, np.arange(len(rows))
    order = None
    if method == "k-reciprocal":
        order = rerank.KReciprocal(base, **settings)
    else:
        expanded = rerank.Expanded(base, **settings, augmented=method == "augmented database")
        base, rows = expanded.gallery, expanded.expand(rows, own)
    return metrics.search(rows, asked.labels, base, labels, own, depth="r", order=order)


def reranked(evaluator: evaluation.Evaluator, embeddings: Callable, say: Callable[[str], None]) -> dict[str, dict]:
    """Of the test pictures the metrics of each method, at the settings that are best on the validation pictures.

    Parameters
    ----------
    evaluator : examples.embedding_learning.evaluation.Evaluator
    embeddings : callable (split) -> (n, d) array
    say : callable (str)
        Is told what was chosen.
    """
    rows = {}
    for method, tried in SETTINGS.items():
        best, why = tried[0], "no validation pictures to choose on"
        if evaluator.asked == "validation":
            validation = evaluator.tested("validation", embeddings)
            before = validation.search("r").mean()[CHOSEN_BY]
            found = [ranked(validation, method, settings).mean()[CHOSEN_BY] for settings in tried]
            best = tried[int(np.argmax(found))]
            why = f"validation_{CHOSEN_BY} {max(found):.3f}, without {before:.3f}"
        said = ", ".join(f"{name.rstrip('_')} {value:g}" for name, value in best.items())
        say(f"{method}: {said} ({why})")
        rows[f"{method} of trained"] = evaluation.figures(ranked(evaluator.tested("test", embeddings), method, best))
    return rows


def rows(
    args, net, outputs: Callable, metadata: dict, evaluator: evaluation.Evaluator, best_file: Path, say
) -> dict[str, dict[str, float]]:
    """What ``--whiten`` and ``--rerank`` add to the table of a run; the network is left as it was.

    The widest whitened model is written beside the best one, as ``NAME_whitened.params``; with ``--signs`` that of as
    many bits as ``NAME_bits.params``.

    Parameters
    ----------
    args : argparse.Namespace
        Of train.py.
    net : examples.embedding_learning.model.EmbeddingNet
    outputs : callable (split) -> (n, d) array
        Of the network's dense layer, before unit length: asked for several times.
    metadata : dict
        What a saved model has to say about its inputs.
    evaluator : examples.embedding_learning.evaluation.Evaluator
    best_file : Path
        The best model's.
    say : callable (str)
    """
    found = reranked(evaluator, evaluation.at_unit_length(outputs), say) if args.rerank else {}
    if not args.whiten:
        return found

    def then(fitted: linear.Linear) -> Callable:
        return evaluation.at_unit_length(lambda split: fitted(outputs(split)))

    def keep(fitted: linear.Linear, kind: str) -> None:
        weight, bias = (parameter.list_data()[0].asnumpy() for parameter in (net.dense.weight, net.dense.bias))
        net.put_head(fitted.matrix.T @ weight, fitted(bias[None])[0])
        file = best_file.with_name(f"{best_file.stem}_{kind}.params")
        model.save(net, file, **metadata, metrics={})
        say(f"wrote {file}: {net.embed_dim} numbers")
        net.put_head(weight, bias)

    fitted = linear.pca_whitening(outputs("train"), args.whiten[-1])
    keep(fitted, "whitened")
    embeddings = then(fitted)
    for width in args.whiten:
        found[f"whitened {width}"] = evaluator.reported(_cut(embeddings, width, metrics.unit))
        if args.signs:
            found[f"signs of whitened {width}"] = evaluator.reported(_cut(embeddings, width, evaluation.signs))
    for width in args.whiten if args.signs else ():  # a rotation is of one width
        fitted = linear.itq(outputs("train"), width)
        found[f"{width} bits by ITQ"] = evaluator.reported(_cut(then(fitted), width, evaluation.signs))
    if args.signs:
        keep(fitted, "bits")
    return found


def _cut(embeddings: Callable, width: int, then: Callable) -> Callable:
    """The first numbers of `embeddings`, by split."""
    return lambda split: then(embeddings(split)[:, :width])
