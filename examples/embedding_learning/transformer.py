"""A saved model as a step of a scikit-learn pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from examples.embedding_learning.embed import SHIPPED
from examples.embedding_learning.gallery import Embedder


class PictureEmbedder(TransformerMixin, BaseEstimator):
    """Pictures in, their embeddings by a model of train.py out.

    There is nothing to fit. The model is read at each call of `transform`, so that a pipeline can be cloned, saved and
    sent to other processes.

    Parameters
    ----------
    params : path
        The model's file; default is the shipped one.
    engine : {"auto", "mxnet", "onnxruntime"}
    gpus : sequence of int
        The GPU to use; empty means CPU.
    num_workers : int
        Threads that decode files.
    """

    def __init__(self, params=SHIPPED, engine: str = "auto", gpus: Sequence[int] = (), num_workers: int = 2):
        self.params, self.engine, self.gpus, self.num_workers = params, engine, gpus, num_workers

    def fit(self, X, y=None) -> PictureEmbedder:
        """Do nothing."""
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def transform(self, X) -> np.ndarray:
        """Embeddings (n, embed_dim), float32 unit vectors, of paths or of (n, H, W, 3) uint8 pixels.

        Raises
        ------
        UserError
            The model or a picture cannot be read.
        """
        embedder = Embedder(pictures=len(X), **self.get_params())
        pixels = isinstance(X, np.ndarray) and X.dtype == np.uint8
        return embedder(X if pixels else [Path(path) for path in X])
