"""Every name of numpy and onnx that the installed MXNet and gluoncv use is there, and means what it did."""

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import common  # noqa: F401  (gives the names back)
from common import compat
from common.files.paths import REPO


def numpy_names(package):
    """Each attribute of numpy that a package's sources name, and the first file that does."""
    folder = Path(importlib.util.find_spec(package).origin).parent
    found = {}
    for file in sorted(folder.rglob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        imports = (node for node in ast.walk(tree) if isinstance(node, ast.Import))
        names = {a.asname or a.name for node in imports for a in node.names if a.name == "numpy"}
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in names:
                found.setdefault(node.attr, str(file.relative_to(folder)))
    return found


def test_every_name_that_mxnet_uses_is_there():
    from mxnet.numpy_dispatch_protocol import _NUMPY_ARRAY_FUNCTION_LIST as by_text

    named = numpy_names("mxnet")
    assert len(named) > 200  # the sources were found, and read
    assert not {name: file for name, file in named.items() if not hasattr(np, name)}
    assert not [name for name in by_text if "." not in name and not hasattr(np, name)]


def test_what_is_given_back_means_what_it_did():
    assert np.NaN is np.nan and np.inf == np.PINF and -np.inf == np.NINF
    assert np.float_ is np.float64 and np.unicode_ is np.str_ and np.string_ is np.bytes_
    assert np.product([2, 3]) == 6 and np.alltrue([1, 0]) == False and np.sometrue([1, 0]) == True  # noqa: E712
    assert np.in1d([[1, 2], [3, 4]], [2, 3]).tolist() == [False, True, True, False]
    assert np.row_stack([[1], [2]]).shape == (2, 1) and np.msort([[2, 1], [1, 3]]).tolist() == [[1, 1], [2, 3]]
    assert np.trapz([1, 2, 3]) == 4 and np.round_(1.26, 1) == 1.3
    with pytest.raises(NotImplementedError, match="numpy-financial"):
        np.npv(0.1, [1, 2])


def test_nothing_is_touched_that_is_there():
    """In a fresh interpreter: what numpy has before is the same object afterwards."""
    code = (
        "import numpy; before = dict(vars(numpy)); import common;"
        "print([n for n, v in before.items() if vars(numpy)[n] is not v])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_mxnet_is_imported_without_what_it_does_not_need():
    """In a fresh interpreter; afterwards both packages are as they are without MXNet."""
    code = (
        "import sys, common, mxnet; print([n for n in ('sklearn', 'pandas', 'scipy.stats') if n in sys.modules]);"
        "from common.show import plots; print('matplotlib' in sys.modules); assert callable(plots.curves);"
        "from sklearn.base import BaseEstimator; from scipy import stats;"
        "print(BaseEstimator.__name__, stats.norm.cdf(0))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n") == ["[]", "False", "BaseEstimator 0.5", ""]


def test_mxnet_takes_numpys_own_bool_and_numbers():
    import mxnet as mx

    mask = mx.np.array([True, False, True], dtype=np.bool)
    assert mask.dtype == np.bool_ and mx.np.array([1.0, 2.0, 3.0])[mask].tolist() == [1.0, 3.0]
    assert mx.np.logical_not(mask).tolist() == [False, True, False]
    assert mx.nd.zeros((np.int64(3), 4)).shape == (3, 4)
    assert mx.nd.ones(4).reshape((np.int64(2), np.int32(2))).shape == (2, 2)
    assert mx.nd.full((np.int64(2),), np.float32(1.5)).asnumpy().tolist() == [1.5, 1.5]
    assert mx.nd.ones(6).slice_axis(axis=np.int64(0), begin=np.int64(1), end=np.int64(4)).shape == (3,)


def test_onnx_has_its_tables_again():
    import onnx

    compat.onnx_mapping()
    from onnx import mapping

    kinds = onnx.TensorProto
    same = {kinds.FLOAT: "float32", kinds.UINT8: "uint8", kinds.INT64: "int64", kinds.BOOL: "bool"}
    for kind, wanted in same.items():
        assert mapping.TENSOR_TYPE_TO_NP_TYPE[kind] == np.dtype(wanted)
        assert mapping.NP_TYPE_TO_TENSOR_TYPE[np.dtype(wanted)] == kind
