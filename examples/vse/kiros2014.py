"""Models of the 2014 code (Theano): ``NAME.npz`` and ``NAME.npz.dictionary.pkl``, read without running any of it.

The dictionary is a pickle, and a pickle is a program. Here it may build an ordered dictionary of texts and numbers;
anything else that it asks for is refused. The sizes are those of the arrays, so the options' pickle is not read.
"""

from __future__ import annotations

import collections
import pickle
from pathlib import Path

import mxnet as mx
import numpy as np

from common.files import outside
from common.files.errors import UserError, reading
from common.text.vocabulary import Vocabulary
from examples.vse import model

GRU = ("encoder_W", "encoder_b", "encoder_U", "encoder_Wx", "encoder_bx", "encoder_Ux")


class _Texts(pickle.Unpickler):
    """An unpickler of dictionaries and plain values alone."""

    def find_class(self, module, name):
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def read_dictionary(path, count: int) -> Vocabulary:
    """The words of a ``.dictionary.pkl``, numbered from 2.

    `count` is the number of word vectors. As in the 2014 code, words numbered `count` and above, which are the rarest,
    count as unknown: it made as many vectors as there were words, and forgot the two special ones.
    """
    path = Path(path)
    with reading(path, "the dictionary that the 2014 code keeps beside its model"):
        if not path.is_file():
            raise UserError(f"{path} is not there: the dictionary belongs beside the model")
        with open(path, "rb") as file:
            outside.check_pickle(file)
            numbers = _Texts(file, encoding="utf-8", errors="replace").load()
        words = sorted((number, word) for word, number in numbers.items() if 2 <= number < count)
        if [number for number, _ in words] != list(range(2, count)):
            raise ValueError(f"its words are not numbered from 2 to {count - 1}")
        return Vocabulary([word for _, word in words], [0] * len(words))


def load(path, ctx=None) -> model.VSE:
    """The model in ``NAME.npz``, ready to encode.

    Raises
    ------
    UserError
        A file is missing or damaged, or the model is none with a GRU or a sum of words.
    """
    path = Path(path)
    with reading(path, "a model of the 2014 code: ./get_data.sh vse"):
        arrays = {name: np.asarray(array, np.float32) for name, array in outside.load_npz(path).items()}
        for name, array in arrays.items():
            if not np.isfinite(array).all():
                raise ValueError(f"{name} holds numbers that are not finite")
        encoder = "gru" if "encoder_Ux" in arrays else "bow"
        wanted = ["Wemb", "ff_image_W", "ff_image_b", *(GRU if encoder == "gru" else ())]
        missing = [name for name in wanted if name not in arrays]
        if missing:
            raise ValueError(f"it has no {', '.join(missing)}")
        values = {
            "sentences.words.weight": arrays["Wemb"],
            "images.linear.weight": arrays["ff_image_W"].T,
            "images.linear.bias": arrays["ff_image_b"],
        }
        if encoder == "gru":
            values.update(_gru(*(arrays[name] for name in GRU)))
        (count, dim_word), (dim_image, dim) = arrays["Wemb"].shape, arrays["ff_image_W"].shape
        metadata = {
            "dim_image": dim_image, "dim": dim, "dim_word": dim_word, "encoder": encoder, "bidirectional": False,
            "measure": "cosine", "tokens": "split", "model": None, "dataset": path.stem, "origin": "2014",
        }  # fmt: skip
        vocabulary = read_dictionary(f"{path}.dictionary.pkl", count)
        return model.build(metadata, vocabulary, {k: mx.nd.array(v) for k, v in values.items()}, ctx)


def _gru(w, b, u, wx, bx, ux) -> dict[str, np.ndarray]:
    """Gluon's parameters from Theano's, whose gates are in the same order: reset, update; and the new value apart."""
    return {
        "sentences.rnn._unfused.0.i2h_weight": np.concatenate([w, wx], axis=1).T,
        "sentences.rnn._unfused.0.h2h_weight": np.concatenate([u, ux], axis=1).T,
        "sentences.rnn._unfused.0.i2h_bias": np.concatenate([b, bx]),
        "sentences.rnn._unfused.0.h2h_bias": np.zeros(len(b) + len(bx), np.float32),
    }
