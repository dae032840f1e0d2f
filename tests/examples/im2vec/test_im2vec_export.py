"""An exported model scores classes as its objective does."""

import json

import mxnet as mx
import numpy as np
import onnxruntime
import pytest

from examples.im2vec import export, modelfile


@pytest.mark.parametrize("objective", ["negative", "hierarchical"])
def test_scores_are_the_objectives(objective, tmp_path):
    mx.random.seed(0)
    metadata = {
        "classes": ["a", "b", "c", "d"], "model": "resnet20", "dim": 8, "size": 16, "negatives": 3, "dataset": "folder",
        "counts": [4, 3, 2, 9], "groups": [1, 0, 1, 0], "group_names": ["x", "y"], "epochs": 1, "preprocessing": None,
        "objective": objective, "metrics": {"accuracy": 0.5},
    }  # fmt: skip
    made = modelfile.build(metadata)
    for parameter in made.objective.collect_params().values():
        if parameter.grad_req != "null":
            parameter.set_data(mx.nd.random.normal(shape=parameter.shape))
    made.means, made.examples = np.zeros((4, 8)), np.zeros((4, 16, 16, 3))
    modelfile.save(tmp_path / "model.params", made)
    export.main(export.parse_args(["--input", str(tmp_path / "model.params"), "--package", str(tmp_path / "m")]))
    about = json.loads((tmp_path / "m" / "model.json").read_text())
    pictures = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)
    session = onnxruntime.InferenceSession(str(tmp_path / "m" / "model.onnx"))
    scores, f = session.run([about["output"]["name"], about["embedding"]["name"]], {"data": pictures})
    expected = made.net(mx.nd.array(pictures, dtype="uint8"))
    np.testing.assert_allclose(f, expected.asnumpy(), atol=1e-4)
    np.testing.assert_allclose(scores, made.objective.scores(expected).asnumpy(), atol=1e-4)
    np.testing.assert_array_equal(np.load(tmp_path / "m" / "classes.npy"), made.vectors("class"))
    assert about["classes"]["names"] == list("abcd") and about["figures"] == {"accuracy": 0.5}
