"""Names that MXNet 1.9.1 and gluoncv 0.10.5 use and newer packages have removed, given back before their first import.

MXNet's last release is of 2022. Nothing is touched that is still there, and nothing here changes what a name that
exists means. Which release removed what:

- numpy 1.24: ``bool`` and ``int``, aliases of Python's own (numpy 2.0 has ``bool`` again, for its scalar type, which
  MXNet takes as well: it compares types with it and asks for arrays of it).
- numpy 2.0: the other names of `_numpy`.
- numpy 1.20 and before: financial functions that ``mxnet.numpy.fallback`` only hands on.
- onnx after 1.18: the module ``onnx.mapping``, whose tables ``onnx.helper`` has as functions.

And MXNet is imported without two packages that it does not need, half of the time of its import: see `Without`.
"""

from __future__ import annotations

import sys
import types


def _numpy() -> None:
    import numpy as np

    former = {
        "bool": bool, "int": int,
        "NAN": np.nan, "NaN": np.nan,
        "Inf": np.inf, "Infinity": np.inf, "PINF": np.inf, "NINF": -np.inf,
        "PZERO": 0.0, "NZERO": -0.0,
        "float_": np.float64, "complex_": np.complex128, "unicode_": np.str_, "string_": np.bytes_,
        "product": np.prod, "round_": np.round, "sometrue": np.any, "alltrue": np.all,
        "row_stack": np.vstack, "in1d": _in1d, "msort": _msort,
        "trapz": getattr(np, "trapezoid", None),
        "compat": types.SimpleNamespace(basestring=str),
    }  # fmt: skip
    former.update(dict.fromkeys(("mirr", "npv", "pmt", "ppmt", "pv", "rate"), _financial))
    for name, value in former.items():
        if name not in np.__dict__:
            setattr(np, name, value)
    if np.lib.NumpyVersion(np.__version__) >= "2.0.0":
        # MXNet hands shapes to its library as text: numpy 2 writes its numbers as `np.int64(3)`, which is none there.
        np.set_printoptions(legacy="1.25")


def _in1d(ar1, ar2, assume_unique=False, invert=False):
    import numpy as np

    return np.isin(np.ravel(ar1), ar2, assume_unique=assume_unique, invert=invert)


def _msort(a):
    import numpy as np

    return np.sort(a, axis=0)


def _financial(*_, **__):
    raise NotImplementedError("numpy has no financial functions any more: pip install numpy-financial")


def onnx_mapping() -> None:
    """Give onnx the module ``mapping`` back, which MXNet's exporter reads; before its first use."""
    import onnx

    if hasattr(onnx, "mapping"):
        return
    from onnx import helper

    kinds = list(helper.get_all_tensor_dtypes())
    module = types.ModuleType("onnx.mapping")
    module.TENSOR_TYPE_TO_NP_TYPE = {kind: helper.tensor_dtype_to_np_dtype(kind) for kind in kinds}
    module.NP_TYPE_TO_TENSOR_TYPE = {}
    for kind in kinds:  # the first of those that share one of numpy's types
        module.NP_TYPE_TO_TENSOR_TYPE.setdefault(module.TENSOR_TYPE_TO_NP_TYPE[kind], kind)
    onnx.mapping = sys.modules["onnx.mapping"] = module


class Without:
    """A finder that hides scikit-learn and scipy.stats from MXNet while it is imported, and from nobody else.

    MXNet derives the retired ``mx.model.FeedForward`` from scikit-learn's class if it finds that, and takes scipy.stats
    for tests of its random numbers and for the calibration mode "entropy" of ``mx.contrib.quantization``. It does
    without what is not there. Programs that want the packages import them afterwards, or have done so before.
    """

    NAMES = frozenset({"sklearn", "scipy.stats"})

    def find_spec(self, name: str, path=None, target=None) -> None:
        """Leave every module to the other finders, see `importlib.abc.MetaPathFinder.find_spec`.

        Parameters
        ----------
        name : str
            Of the module.
        path, target
            Not read.

        Raises
        ------
        ModuleNotFoundError
            It is one of `NAMES`, and MXNet is being imported.
        """
        mxnet = sys.modules.get("mxnet")
        if name in self.NAMES and mxnet and not hasattr(mxnet, "kv"):  # which it has when it is nearly done
            raise ModuleNotFoundError(f"{name} is not imported with MXNet", name=name)


_numpy()
sys.meta_path.insert(0, Without())
