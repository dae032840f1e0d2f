"""What a training leaves in its run's folder: the model, its metrics, its vectors and their pictures."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from common import metrics
from common.data.sets import Dataset
from common.files.disk import write_array
from common.run import Run
from examples.im2vec import evaluation, modelfile, pictures, relations, stability, vectors


def save(
    run: Run, model: modelfile.Model, dataset: Dataset, train: np.ndarray, test: np.ndarray, values: Mapping
) -> None:
    """Write all that is made of a trained model.

    Parameters
    ----------
    run : common.run.Run
    model : modelfile.Model
        ``model.params``, and ``--output`` where it is given.
    dataset : common.data.sets.Dataset
    train, test : (n, d) float32
        f(x) of the training pictures and of those held back, in order.
    values : mapping of str to float
        Metrics of the last epoch: ``metrics.json``, which also holds how stable the vectors are.
    """
    labels, classes = dataset.train.labels, len(dataset.train.class_names)
    model.means = evaluation.class_means(train, labels, classes)
    side = max(evaluation.EXAMPLE_SIDE, min(pictures.thumbnail(classes), model.net.size))  # no more than was seen
    model.examples = evaluation.typical(evaluation.scores(model.objective, train), dataset.train, side)
    predictions = evaluation.scores(model.objective, test).argmax(axis=1)
    write_array(run.folder / "confusion.npy", metrics.confusion(dataset.test.labels, predictions, classes))
    for path in filter(None, (run.folder / "model.params", run.args.output)):
        run.log(f"model written to {modelfile.save(path, model)}")
    agreement = model.metadata["stability"]
    run.finish({**values, **stability.metrics_of(agreement)})
    vectors.save(model, run.folder)
    run.log(stability.sentence(agreement))
    if not run.args.no_plots:
        run.stage("pictures")
        relations.draw(model, run.folder, run.folder, run.history(), log=run.log, command=run.command)
