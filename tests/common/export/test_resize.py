"""Resize and crop inside an ONNX graph, beside what the suite does outside of it."""

import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image

from common.data.transforms import Eval
from common.export import resize

SIZES = [(90, 131), (64, 64), (40, 90), (33, 30), (48, 96), (200, 50)]  # some shrink, some grow, one has it already


def network(path, crop):
    """What gives back the picture that it is given."""
    shape = [None, crop, crop, 3]
    value = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.UINT8, shape) for name in ("data", "same")]
    node = onnx.helper.make_node("Identity", ["data"], ["same"], "same")
    opset = [onnx.helper.make_opsetid("", 13)]
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([node], "same", value[:1], value[1:]),
                                     opset_imports=opset, ir_version=7), str(path))  # fmt: skip
    return path


def as_pillow(picture, side, crop, keep_aspect, name):
    cut = Eval(side, crop, keep_aspect)
    resized = Image.fromarray(picture).resize(cut.size(picture), Image.Resampling[name.upper()])
    return cut.middle(np.asarray(resized))


@pytest.mark.parametrize("keep_aspect", [False, True])
@pytest.mark.parametrize(("interpolation", "share"), [
    ("area", 0.2), ("nearest", 0), ("bilinear", 0.01), ("bicubic", 0.01),
])  # fmt: skip
def test_the_graph_resizes_as_the_suite(tmp_path, interpolation, share, keep_aspect):
    """But for one level in some: OpenCV's bilinear filter cuts off bits of weights and sums, where a picture grows."""
    side, crop = 64, 56
    file = network(tmp_path / "net.onnx", crop)
    resize.put_in_front(file, side, crop, keep_aspect, interpolation)
    session, rng = onnxruntime.InferenceSession(str(file)), np.random.default_rng(0)
    for height, width in SIZES:
        picture = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        found = session.run(None, {"data": picture[None]})[0][0].astype(int)
        if interpolation == "area":
            expected = Eval(side, crop, keep_aspect)(picture)
        else:
            expected = as_pillow(picture, side, crop, keep_aspect, interpolation)
        difference = np.abs(found - expected)
        if interpolation in ("bilinear", "bicubic") and height > width and height > side:
            assert difference.max() <= 10 and difference.mean() < 0.5  # Pillow 12 resizes the height first
            continue
        assert difference.max() <= 1 and (difference > 0).mean() <= share, (height, width)
        if interpolation == "area" and min(height, width) > side:
            assert (difference > 0).mean() <= 0.001  # it shrinks
