"""What a telephone gets gives what the model gives."""

import json
import shutil

import mxnet as mx
import numpy as np
import onnxruntime
import pytest

from common.data import images
from common.files.errors import UserError
from examples.visual_semantic import evaluate, export, model
from tests.conftest import in_process


@pytest.fixture(scope="module")
def exported(coloured, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mobile")
    export.main(export.parse_args([
        "--params", str(coloured.params), "--output", str(folder), "--pictures", str(coloured.pictures),
        "--calibrate", "12",
    ]))  # fmt: skip
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name, least", [("model", 48), ("model-int8", 47)])
def test_the_files_alone_name_the_pictures(exported, coloured, name, least):
    """As an application would: the ONNX file, the word matrix, the list of classes, and nothing of this suite."""
    about = json.loads((exported / "model.json").read_text())
    words = np.load(exported / about["words"])
    assert words.dtype == np.float32 and words.shape == (6, 300) and about["classes"][-1] == "orange"
    np.testing.assert_allclose(np.linalg.norm(words, axis=1), 1, atol=1e-5)
    session = onnxruntime.InferenceSession(str(exported / f"{name}.onnx"))
    assert [i.name for i in session.get_inputs()] == [about["input"]["name"]]
    paths = sorted(coloured.pictures.rglob("*.png"))
    vectors = session.run(None, {"data": np.stack([images.read(path) for path in paths])})[0]
    named = [about["classes"][i] for i in (vectors @ words.T).argmax(axis=1)]
    right = sum(guess == path.parent.name for guess, path in zip(named, paths))
    assert right >= least
    if name == "model":
        net = model.load(coloured.params)
        pictures = mx.nd.array(np.stack([images.read(path) for path in paths]), dtype="uint8")
        np.testing.assert_allclose(vectors, net.embed(pictures).asnumpy(), atol=2e-4)


def test_what_was_compared_is_written(exported):
    figures = json.loads((exported / "model-check.json").read_text())
    assert figures["float32"]["same_top1"] == figures["float32"]["pictures"] == 48 - 12  # none it was calibrated on
    assert figures["float32"]["cosine"] > 0.9999 and figures["int8"]["cosine"] > 0.95
    assert figures["int8"]["bytes"] < 0.5 * figures["float32"]["bytes"] < 3e6
    assert (exported / "model.onnx").stat().st_size == figures["float32"]["bytes"]


def test_without_pictures_only_float32(coloured, tmp_path, capsys):
    export.main(export.parse_args(["--params", str(coloured.params), "--output", str(tmp_path)]))
    assert {path.name for path in tmp_path.iterdir()} == {"model.onnx", "model.json", "model-words.npy"}
    out = capsys.readouterr().out
    assert "MB; 6 words of 300 numbers" in out and "INT8 is not written" in out


@pytest.mark.slow
def test_wrong_use_is_one_line(tmp_path):
    for flags, message in (
        (["--params", str(tmp_path / "none.params")], "no model there"),
        (["--pictures", str(tmp_path / "none")], "no such picture or folder"),
    ):
        done = in_process("visual_semantic/export.py", *flags)
        assert done.returncode == 2 and message in done.stderr and done.stderr.count("\n") == 1
    with pytest.raises(UserError, match="no model there"):
        export.main(export.parse_args(["--params", str(tmp_path / "none.params")]))


@pytest.mark.parametrize("program", [evaluate, export])
def test_a_picture_that_cannot_be_read_stops_or_is_skipped(coloured, tmp_path, program, capsys):
    pictures = shutil.copytree(coloured.pictures, tmp_path / "pictures")
    (pictures / "orange" / "bad.png").write_bytes(b"no picture")
    flags = ["--params", str(coloured.params), "--output", str(tmp_path / "out")]
    if program is export:
        flags += ["--pictures", str(pictures), "--calibrate", "4"]
    else:
        flags += ["--data-path", str(pictures), "--no-baselines"]
    with pytest.raises(UserError, match="bad.png"):
        program.main(program.parse_args(flags))
    program.main(program.parse_args([*flags, "--on-error", "skip"]))
    said = capsys.readouterr()
    assert "bad.png" in said.out + said.err
    if program is export:
        assert json.loads((tmp_path / "out" / "model-check.json").read_text())["int8"]["pictures"] == 48 - 4
    else:
        assert "16 pictures of 2 unseen classes" in said.out and "trained" in json.loads((tmp_path / "out").read_text())
