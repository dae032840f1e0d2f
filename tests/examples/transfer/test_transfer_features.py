from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from common.errors import UserError
from examples.transfer import generate_embedding, inputs, model, networks, outputs


@pytest.fixture
def pictures(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(6):
        Image.fromarray(rng.integers(0, 256, (20, 30, 3), np.uint8)).save(tmp_path / f"{i}.png")
    (tmp_path / "list.csv").write_text("".join(f"{'ab'[i % 2]},{i}.png\n" for i in range(6)))
    return tmp_path


def test_pictures_are_resized_as_pil_does(pictures):
    for name, number in (("nearest", 0), ("bilinear", 2), ("bicubic", 3)):
        expected = np.asarray(Image.open(pictures / "0.png").resize((24, 24), number))
        np.testing.assert_array_equal(inputs.read(pictures / "0.png", 24, name), expected)


@pytest.mark.parametrize("text, words", [("", "no rows"), ("a,0.png\nb\n", "row 2 has 1 columns")])
def test_a_bad_csv_is_named_by_row(pictures, text, words):
    (pictures / "bad.csv").write_text(text)
    with pytest.raises(UserError, match=words):
        inputs.from_csv(pictures / "bad.csv")


def test_npy_rows_must_fit(tmp_path):
    np.save(tmp_path / "d.npy", np.zeros((3, 11), np.uint8))
    np.save(tmp_path / "l.npy", np.zeros((3, 1), np.int64))
    with pytest.raises(UserError, match="rows of 12 values"):
        inputs.from_npy(tmp_path / "d.npy", tmp_path / "l.npy", 2, 2, 3)
    with pytest.raises(UserError, match="3 channels"):
        inputs.from_npy(tmp_path / "d.npy", tmp_path / "l.npy", 2, 2, 1)


def test_names_in_any_case_and_near_names():
    assert networks.candidates("vgg16")[0] == "keras-vgg16"
    assert networks.candidates("SqueezeNet1.1") == ("squeezenet1.1",)
    with pytest.raises(UserError, match="ResNet50"):
        networks.candidates("ResNet5O")


@pytest.mark.parametrize("format", ["npy", "csv", "parquet"])
def test_a_resumed_output_is_the_same_and_reads_back(tmp_path, format):
    vectors = np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)
    labels, rows = np.array(list("abcabca")), [str(i) for i in range(7)]
    whole = outputs.Output(tmp_path, "whole", format, 5, "key")
    whole.add(vectors, {2: "bad"})
    whole.finish(labels, rows)
    begun = outputs.Output(tmp_path, "begun", format, 5, "key")
    begun.add(vectors[:4], {2: "bad"})
    begun.save()
    begun.file.write(b"cut short")
    begun.file.close()
    with pytest.raises(UserError, match="other pictures or settings"):
        outputs.Output(tmp_path, "begun", format, 5, "other", resume=True)
    again = outputs.Output(tmp_path, "begun", format, 5, "key", resume=True)
    assert again.seen == 4
    again.add(vectors[4:], {})
    files = again.finish(labels, rows)
    for file in files:
        assert file.read_bytes() == (tmp_path / file.name.replace("begun", "whole")).read_bytes()
    found, names = outputs.load(files[0])
    np.testing.assert_array_equal(found, np.delete(vectors, 2, axis=0))
    assert names.tolist() == np.delete(labels, 2).tolist()


def run(folder, *flags):
    common = [
        "-tm",
        "squeezenet1.1",
        "-weights",
        "None",
        "-b",
        "4",
        "-dir",
        str(folder),
        "-csv",
        str(folder / "list.csv"),
    ]
    generate_embedding.main(generate_embedding.parse_args([*common, *flags]))


def test_features_end_to_end(pictures):
    run(pictures)
    data = np.load(pictures / "transferfeature_data.npy")
    assert data.shape == (6, 512) and data.dtype == np.float32
    assert np.load(pictures / "transferfeature_labels.npy").shape == (6, 1)
    run(pictures, "-to-csv")
    assert (pictures / "transferfeature.csv").read_text().startswith("Class,n0,n1,")
    np.testing.assert_array_equal(outputs.load(pictures / "transferfeature.csv")[0], data)
    with pytest.raises(UserError, match="--no-clobber"):
        run(pictures, "--no-clobber")


def test_bad_pictures_stop_or_are_left_out(pictures):
    (pictures / "3.png").write_bytes((pictures / "3.png").read_bytes()[:200])  # fails late
    (pictures / "4.png").unlink()
    with pytest.raises(UserError, match="row 5.*no such file"):
        run(pictures)
    run(pictures, "--on-error", "skip")
    assert len(np.load(pictures / "transferfeature_data.npy")) == 4
    assert len((pictures / "transferfeature_failed.csv").read_text().splitlines()) == 3


@pytest.mark.parametrize("kind", model.KINDS)
def test_classifiers_learn_and_read_back(tmp_path, kind):
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 30)
    features = (rng.normal(size=(90, 8)) + 4 * np.eye(3, 8)[labels]).astype(np.float32)
    fitted = model.fit(kind, features, labels, ["x", "y", "z"], {"name": None})
    fitted.save(tmp_path / "c.npz")
    again = model.load(tmp_path / "c.npz")
    assert (again.predict(features) == labels).mean() > 0.9
    np.testing.assert_array_equal(again.scores(features), fitted.scores(features))
