"""Features of pictures: what goes in, what comes out, and what happens in between."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import mxnet as mx
import numpy as np
import pytest
from PIL import Image

from common import backbones
from common.data.sets import ImageSet
from common.export import engine
from common.files.errors import UserError
from common.files.paths import REPO
from examples.transfer import generate_embedding, inputs, networks, outputs, reading
from tests.conftest import require_weights

SCRIPT = Path(generate_embedding.__file__)
FLAGS = {  # of the document: short form, long form, default
    "-csv": ("--csv_file", None), "-data": ("--npy_data", None), "-labels": ("--npy_labels", None),
    "-dir": ("--save_folder_path", "."), "-n": ("--save_name", "transferfeature"), "-tm": ("--trained_model", "VGG16"),
    "-to-csv": ("--save_csv", False), "-he": ("--image_height", 90), "-w": ("--image_width", 160),
    "-c": ("--image_channels", 3), "-weights": ("--nn_weights", "imagenet"), "-b": ("--batch_size", 1),
}  # fmt: skip


@pytest.fixture
def pictures(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(6):
        Image.fromarray(rng.integers(0, 256, (20, 30, 3), np.uint8)).save(tmp_path / f"{i}.png")
    (tmp_path / "list.csv").write_text("".join(f"{'ab'[i % 2]},{i}.png\n" for i in range(6)))
    return tmp_path


def run(folder, *flags, source=("-csv", "list.csv")):
    source = [str(folder / part) if part[0] != "-" else part for part in source]
    common = ["-tm", "conv4", "-weights", "None", "-b", "4", "-dir", str(folder), *source]
    generate_embedding.main(generate_embedding.parse_args([*common, *flags]))


def test_every_flag_of_the_document_in_both_forms(capsys):
    with pytest.raises(SystemExit):
        generate_embedding.parse_args(["-h"])
    text = capsys.readouterr().out
    assert all(short in text and long in text for short, (long, _) in FLAGS.items())
    args = vars(generate_embedding.parse_args(["-csv", "list.csv"]))
    for long, default in FLAGS.values():
        if long != "--csv_file":
            assert args[long[2:]] == default
    values = {
        "-tm": "Xception",
        "-he": "3",
        "-w": "4",
        "-c": "1",
        "-weights": "None",
        "-b": "8",
        "-n": "x",
        "-dir": "y",
    }
    short, long = ([flags[i] for flags in values.items() for i in (0, 1)] for _ in range(2))
    long[::2] = [FLAGS[flag][0] for flag in short[::2]]
    for form, csv in ((short, "-csv"), (long, "--csv_file")):
        assert vars(generate_embedding.parse_args([*form, csv, "f"])) == {
            **args, "trained_model": "Xception", "image_height": 3, "image_width": 4, "image_channels": 1,
            "nn_weights": "None", "batch_size": 8, "save_name": "x", "save_folder_path": "y", "csv_file": "f",
        }  # fmt: skip


@pytest.mark.parametrize(
    "flags, words",
    [
        (["-data", "d.npy"], "-data and -labels belong together"),
        ([], "give one of -csv"),
        (["-csv", "a", "--folder", "b"], "give one of -csv"),
        (["-csv", "a", "--int8", "--gpus=0"], "--int8 runs on the CPU"),
        (["-csv", "a", "-to-csv", "--parquet"], "not allowed with"),
    ],
)
def test_flags_that_do_not_fit_are_one_line(flags, words, capsys):
    with pytest.raises(SystemExit) as end:
        generate_embedding.parse_args(flags)
    error = capsys.readouterr().err
    assert end.value.code == 2 and words in error and error.count("\n") == 1


def test_pictures_are_resized_as_pil_does(pictures):
    for name, number in (("nearest", 0), ("bilinear", 2), ("bicubic", 3)):
        expected = np.asarray(Image.open(pictures / "0.png").resize((24, 24), number))
        np.testing.assert_array_equal(inputs.read(pictures / "0.png", 24, name), expected)


def test_pictures_of_every_kind_come_out_as_one_sees_them(tmp_path):
    rows, columns = np.mgrid[0:40, 0:60]
    scene = np.stack([rows * 6, columns * 4, np.full_like(rows, 90)], axis=-1).astype(np.uint8)
    picture, grey = Image.fromarray(scene), Image.fromarray(scene[..., 0])
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(tmp_path / "plain.png")
    picture.quantize(256).save(tmp_path / "palette.png")
    picture.convert("CMYK").save(tmp_path / "cmyk.jpg", quality=98)
    Image.fromarray(np.rot90(scene)).save(tmp_path / "turned.jpg", exif=exif, quality=98)
    grey.save(tmp_path / "grey.png")
    Image.fromarray(scene[..., 0].astype(np.uint16) * 257).save(tmp_path / "deep.png")
    clear = picture.convert("RGBA")
    clear.putalpha(Image.fromarray(np.where(columns < 30, 255, 0).astype(np.uint8)))
    clear.save(tmp_path / "clear.png")
    plain = inputs.read(tmp_path / "plain.png", 20).astype(int)
    for name in ("palette.png", "cmyk.jpg", "turned.jpg"):
        assert np.abs(inputs.read(tmp_path / name, 20) - plain).mean() < 8, name
    for name in ("grey.png", "deep.png"):
        np.testing.assert_array_equal(inputs.read(tmp_path / name, 20), np.repeat(plain[..., :1], 3, axis=-1))
    left, right = np.split(inputs.read(tmp_path / "clear.png", 20), 2, axis=1)
    np.testing.assert_array_equal(left, plain[:, :10])
    assert np.all(right == 255)


def test_deep_pictures_are_as_dark_as_they_are(tmp_path):
    """Whatever their largest value, and as an array of the same values in 0..255 comes out."""
    grey = np.linspace(0, 60, 100).reshape(10, 10).round()
    Image.fromarray((grey * 257).astype(np.uint16)).save(tmp_path / "deep.png")
    Image.fromarray((grey / 255).astype(np.float32)).save(tmp_path / "float.tif")
    found = inputs.from_npy(*saved(tmp_path, np.repeat(grey[None, :, :, None], 3, axis=3)))
    for file in ("deep.png", "float.tif"):
        np.testing.assert_array_equal(inputs.read(tmp_path / file, 10), found.read(0, 10, "nearest"))


@pytest.mark.parametrize(
    "text, words",
    [
        ("", "no rows"),
        ("a,0.png\nb\n", "row 2 has 1 columns"),
        ("a,0.png,c\n", "row 1 has 3 columns"),
        ("\n\na, \n", "row 3 has 2 columns"),
    ],
)
def test_a_bad_csv_is_named_by_row(pictures, text, words):
    (pictures / "bad.csv").write_text(text)
    with pytest.raises(UserError, match=words):
        inputs.from_csv(pictures / "bad.csv")


def test_csv_paths_are_sought_beside_it_then_in_the_working_folder(pictures, tmp_path_factory, monkeypatch):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "l.csv").write_text(f"1,{pictures / '1.png'}\n2,0.png\n3,{'x' * 4000}\n")
    monkeypatch.chdir(pictures)
    found = inputs.from_csv(elsewhere / "l.csv")
    assert found.labels.dtype == np.int64 and found.paths[1] == Path("0.png")
    assert list(found.check()) == [2]
    (elsewhere / "0.png").write_bytes(b"no picture")
    found = inputs.from_csv(elsewhere / "l.csv")
    assert found.paths[1] == elsewhere / "0.png" and list(found.check()) == [1, 2]


def test_labels_are_numbers_only_where_they_are_written_as_such(pictures):
    (pictures / "l.csv").write_text('007,0.png\n"a, ""b""",1.png\nNA,2.png\n')
    assert inputs.from_csv(pictures / "l.csv").labels.tolist() == ["007", 'a, "b"', "NA"]
    run(pictures, "-to-csv", source=("-csv", "l.csv"))
    assert outputs.load(pictures / "transferfeature.csv")[1].tolist() == ["007", 'a, "b"', "NA"]


def test_a_folder_gives_its_classes_in_name_order(pictures):
    for name in ("zebra", "ape", ".hidden"):
        (pictures / name).mkdir()
        (pictures / "0.png").rename(pictures / name / "0.png")
        Image.new("RGB", (9, 9)).save(pictures / "0.png")
    (pictures / "ape" / "notes.txt").write_text("no picture")
    found = inputs.from_folder(pictures)
    classes = dict(zip(found.paths, found.labels.tolist()))
    assert [label for label in classes.values() if label] == ["ape", "zebra"]
    assert classes[pictures / "ape" / "0.png"] == "ape" and classes[pictures / "0.png"] == ""
    assert inputs.from_folder(pictures / "ape").labels.tolist() == [""]  # pictures without classes
    (pictures / "ape" / "0.png").unlink()
    with pytest.raises(UserError, match="holds no picture; 1 skipped"):
        inputs.from_folder(pictures / "ape")


def test_data_sets_in_memory_and_cut_out_of_files(pictures):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    kept = inputs.from_dataset(ImageSet(pixels, np.array([1, 0]), ["a", "b"]))
    np.testing.assert_array_equal(kept.read(1, 4, "nearest"), pixels[1, 1::2, 1::2])
    assert kept.labels.tolist() == ["b", "a"] and not kept.check()
    other = inputs.from_dataset(ImageSet(pixels + 1, np.array([1, 0]), ["a", "b"]))
    assert kept.key() != other.key()
    paths = [pictures / "0.png", pictures / "1.png"]
    cut = inputs.from_dataset(ImageSet(paths, np.array([0, 0]), ["a"], boxes=np.array([[4, 2, 6, 5]] * 2, float)))
    np.testing.assert_array_equal(cut.read(1, 2, "nearest"), np.asarray(
        Image.open(paths[1]).crop((4, 2, 10, 7)).resize((2, 2), Image.Resampling.NEAREST)))  # fmt: skip
    assert isinstance(inputs.from_dataset(ImageSet(paths, np.array([0, 0]), ["a"])), inputs.Files)
    chosen = inputs.Chosen(kept, np.array([1]))
    assert len(chosen) == 1 and np.array_equal(chosen.read(0, 8, "nearest"), pixels[1])


def test_pictures_that_set_the_ranges_are_spread_and_readable(pictures):
    (pictures / "2.png").write_bytes(b"none")
    found = inputs.from_csv(pictures / "list.csv")
    chosen = inputs.spread(found, 4, 8, "nearest", skip={0: "known"})  # of 1 to 5: 1, 2, 3, 5; 2 cannot be read
    np.testing.assert_array_equal(chosen, [inputs.read(pictures / f"{i}.png", 8) for i in (1, 3, 5)])
    assert inputs.spread(found, 4, 8, "nearest", skip=range(6)).size == 0


def test_npy_rows_must_fit(tmp_path):
    def problem(data, labels, shape=(2, 2, 3)):
        np.save(tmp_path / "d.npy", data)
        np.save(tmp_path / "l.npy", labels)
        with pytest.raises(UserError) as error:
            inputs.from_npy(tmp_path / "d.npy", tmp_path / "l.npy", *shape).check()
        return str(error.value)

    data, labels = np.zeros((3, 12), np.uint8), np.zeros((3, 1), np.int64)
    assert "need rows of 12 values" in problem(data[:, 1:], labels)
    assert "3 channels" in problem(data, labels, (2, 2, 1))
    assert "-labels" in problem(data, labels[1:]) and "has 3 rows" in problem(data, labels.T)
    assert "numbers or text" in problem(data, np.zeros(3, complex))
    assert "l.npy: 1 of 3 rows hold numbers that are not finite (row 2)" in problem(data, np.array([1, np.nan, 2]))
    assert "no UTF-8" in problem(data, np.array([b"\xff"] * 3))
    assert "multiply by 255" in problem(np.full((3, 12), [*[0.5] * 11, np.nan]), labels)
    (tmp_path / "l.npy").write_bytes(b"")
    with pytest.raises(UserError, match="l.npy is not a .npy file"):
        inputs.from_npy(tmp_path / "d.npy", tmp_path / "l.npy", 2, 2, 3)
    np.savez(tmp_path / "d.npz", data)
    with pytest.raises(UserError, match="archive of arrays"):
        inputs.from_npy(tmp_path / "d.npz", tmp_path / "l.npy", 2, 2, 3)


def test_npy_values_that_are_no_pixels_are_named_by_row(tmp_path, monkeypatch):
    monkeypatch.setattr(inputs, "BLOCK", 24)  # two rows at a time
    data = np.full((5, 12), 100.0)
    data[1, 3], data[4, 0] = np.nan, 256
    np.save(tmp_path / "d.npy", data)
    np.save(tmp_path / "l.npy", np.array([b"x"] * 5))
    found = inputs.from_npy(tmp_path / "d.npy", tmp_path / "l.npy", 2, 2, 3)
    assert list(found.check()) == [1, 4] and found.labels.tolist() == ["x"] * 5


def saved(folder, data, labels=None):
    np.save(folder / "d.npy", data)
    np.save(folder / "l.npy", np.arange(len(data)) if labels is None else labels)
    return folder / "d.npy", folder / "l.npy"


def test_numbers_that_are_not_finite_are_named_by_row(tmp_path):
    data = np.full((4, 12), 100.0)
    data[1, 3], data[3, 0] = np.nan, np.inf
    for stretch in (False, True):
        found = inputs.from_npy(*saved(tmp_path, data), 2, 2, 3, stretch)
        assert found.check() == dict.fromkeys((1, 3), "a value that is not finite")
        assert found.rows[3] == f"{tmp_path / 'd.npy'} row 4"
    data[3] = [1e300, *[0] * 11]
    assert 3 in inputs.from_npy(*saved(tmp_path, data), 2, 2, 3, True).check()
    with pytest.raises(UserError, match="d.npy row 2: a value that is not finite .and 1 more.; --on-error skip"):
        run(tmp_path, "-he", "2", "-w", "2", source=("-data", "d.npy", "-labels", "l.npy"))


def array_to_img(x):
    """The rule of Keras's function of this name for an array (height, width, 3), with its default scale=True."""
    x = np.asarray(x, "float32")
    x = x + max(-np.min(x), 0)
    if np.max(x) != 0:
        x = x / np.max(x)
    return Image.fromarray((x * 255).astype("uint8"), "RGB")


def test_stretching_gives_the_numbers_of_the_documents_script(tmp_path):
    """Pictures of any range, of which the first would pass as it is; constant ones; and black."""
    rng = np.random.default_rng(0)
    data = rng.uniform(0, 255, (8, 12)).round()
    data[1], data[2], data[3] = data[1] / 255, data[2] - 100, data[3] * 1000
    data[4:7] = np.array([0, 7, -7])[:, None]
    data[7] -= 300
    pair = saved(tmp_path, data.astype(np.float32))
    found = inputs.from_npy(*pair, 2, 2, 3, True)
    assert not found.check()
    for i, row in enumerate(data):
        expected = np.asarray(
            array_to_img(row.astype(np.float32).reshape(2, 2, 3)).resize((3, 3), Image.Resampling.NEAREST)
        )
        np.testing.assert_array_equal(found.read(i, 3, "nearest"), expected)
    plain = inputs.from_npy(*pair, 2, 2, 3)
    assert set(plain.check()) == {2, 3, 6, 7} and plain.key() != found.key()
    np.testing.assert_array_equal(plain.read(0, 2, "nearest").ravel(), data[0])  # as it is, as from a file


def test_stretch_is_for_arrays(capsys):
    with pytest.raises(SystemExit):
        generate_embedding.parse_args(["-csv", "l.csv", "--stretch"])
    assert "--stretch is for -data" in capsys.readouterr().err


def test_an_array_of_pictures_is_taken_in_its_own_shape(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 4, 6, 3), dtype=np.uint8)
    found = inputs.from_npy(*saved(tmp_path, pixels))
    flat = inputs.from_npy(tmp_path / "d.npy", tmp_path / "l.npy", 4, 6)
    assert not found.check() and (found.height, found.width) == (flat.height, flat.width) == (4, 6)
    np.testing.assert_array_equal(found.read(1, 4, "nearest"), np.asarray(Image.fromarray(pixels[1]).resize((4, 4), 0)))
    inputs.from_npy(*saved(tmp_path, np.asfortranarray(pixels / 2))).check()
    with pytest.raises(UserError, match="pictures of -he 4 -w 6, not 6 and 4: give neither"):
        inputs.from_npy(tmp_path / "d.npy", tmp_path / "l.npy", 6, 4)
    with pytest.raises(UserError, match="channels come last: numpy.moveaxis"):
        inputs.from_npy(*saved(tmp_path, np.moveaxis(pixels, 3, 1)))
    for wrong in (pixels[..., :1], pixels[0], np.zeros((3, 0, 5, 3))):
        with pytest.raises(UserError, match="has shape"):
            inputs.from_npy(*saved(tmp_path, wrong))


def test_objects_are_not_unpickled_and_a_header_gets_no_room(tmp_path):
    data, labels = saved(tmp_path, np.zeros((2, 12), np.uint8), np.array(["cat", "dog"], object))
    with pytest.raises(UserError, match="-labels .*l.npy holds Python objects.*numpy.save labels.astype.str."):
        inputs.from_npy(data, labels, 2, 2)
    np.save(labels, np.array(["cat", "dog"], object).astype(str))
    assert inputs.from_npy(data, labels, 2, 2).labels.tolist() == ["cat", "dog"]
    for shape in ((1 << 40, 12), (-1, 12), (2, 1 << 62)):
        with open(data, "wb") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
        with pytest.raises(UserError, match="-data .*d.npy is not a .npy file"):
            inputs.from_npy(data, labels, 2, 2)
    for content in (b"\x93NUMPY\x01\x00\x10\x00{'descr': [[[", b"\x93NUMPY\x09\x00", b"PK\x03\x04"):
        data.write_bytes(content)
        with pytest.raises(UserError, match="-data .*d.npy is not a .npy file"):
            inputs.from_npy(data, labels, 2, 2)


@pytest.mark.parametrize("flags, file", [
    ([], "x_paths.npy"), (["-to-csv", "--with-path"], "x.csv"), (["--orange"], "x.csv"), (["--parquet"], "x.parquet"),
])  # fmt: skip
def test_every_output_carries_the_path(pictures, flags, file):
    import pandas

    (pictures / "2.png").write_bytes(b"none")
    run(pictures, "-n", "x", *flags, "--on-error", "skip")
    expected = [str(pictures / f"{i}.png") for i in (0, 1, 3, 4, 5)]
    if file.endswith(".npy"):
        assert np.load(pictures / file, allow_pickle=False).tolist() == [[path] for path in expected]
    else:
        table = (pandas.read_parquet if file.endswith(".parquet") else pandas.read_csv)(pictures / file)
        column = "mS#path" if "--orange" in flags else "path"
        assert table.columns[1] == column and table[column].tolist() == expected
        vectors, labels = outputs.load(pictures / file)
        assert vectors.shape == (5, 512) and labels.tolist() == list("abbab")


def test_a_documented_csv_has_its_paths_beside_it(pictures):
    import pandas

    (pictures / "2.png").write_bytes(b"none")
    run(pictures, "-n", "x", "-to-csv", "--on-error", "skip")
    assert list(pandas.read_csv(pictures / "x.csv").columns) == ["Class", *(f"n{i}" for i in range(512))]
    beside = pandas.read_csv(pictures / "x_paths.csv")
    assert list(beside.columns) == ["path"]
    assert beside["path"].tolist() == [str(pictures / f"{i}.png") for i in (0, 1, 3, 4, 5)]
    run(pictures, "-n", "x", "--orange", "--on-error", "skip")
    assert not (pictures / "x_paths.csv").exists()  # x.csv is another one now, which has them itself


def test_arrays_are_called_by_their_rows_and_names_that_are_no_text_can_be_written(tmp_path):
    found = inputs.from_npy(*saved(tmp_path, np.zeros((2, 12), np.uint8)), 2, 2)
    assert found.names() == [f"{tmp_path / 'd.npy'} row 1", f"{tmp_path / 'd.npy'} row 2"]
    odd = Path("a\udcff.png")
    found = inputs.Files([odd, Path("b\nc\0.png")], np.array(["a", "\udcff"]), ["1", "2"])
    assert found.names()[0] == "a\\udcff.png" and len(found.key()) == 64
    assert found.check() == {0: "a\\udcff.png: no such file", 1: "b\\nc\\x00.png: no such file"}


def test_pictures_are_not_read_far_ahead():
    class Counted:
        reads = 0

        def __len__(self):
            return 1000

        def read(self, i, size, interpolation):
            self.reads += 1
            return np.full((size, size, 3), i % 256, np.uint8)

    source = Counted()
    pieces = inputs.batches(source, 4, 10, "nearest", skip={3: "known"}, num_workers=2)
    first = next(pieces)
    assert source.reads <= 10 + 20 + 10 and first.failed == {3: "known"}
    assert first.images[:, 0, 0, 0].tolist() == [0, 1, 2, 0, 4, 5, 6, 7, 8, 9]  # the failed one is black
    assert sum(len(batch.images) for batch in pieces) == 990


def test_names_in_any_case_and_near_names():
    assert networks.candidates("vgg16")[0] == "keras-vgg16"
    assert networks.candidates("SqueezeNet1.1") == ("squeezenet1.1",)
    with pytest.raises(UserError, match="did you mean ResNet50"):
        networks.candidates("ResNet5O")


def test_imagenet_weights_come_from_the_next_source_and_say_so(monkeypatch, capsys):
    from common.backbones import pretrained
    from common.backbones.preprocessing import IMAGENET

    def find(name, which):
        if name == "keras-mobilenet":
            raise UserError("no network")
        return pretrained.Found(Path(f"{name}.params"), IMAGENET, "ImageNet, Gluon model store")

    monkeypatch.setattr(pretrained, "find", find)
    monkeypatch.setattr(backbones, "create", lambda name, which, ctx, **options: name)
    assert networks.create("MobileNet", "imagenet") == "mobilenet1.0"
    assert "Keras's weights cannot be had" in capsys.readouterr().out
    assert networks.create("VGG16", "imagenet") == "keras-vgg16" and not capsys.readouterr().out


def test_weights_that_cannot_be_had_name_the_commands(monkeypatch):
    from common.backbones import pretrained

    def find(name, which):
        raise UserError("no network")

    monkeypatch.setattr(pretrained, "find", find)
    with pytest.raises(UserError, match=r"\./get_data\.sh keras-vgg16 or \./get_data\.sh torchvision-vgg16"):
        networks.create("VGG16", "imagenet")
    with pytest.raises(UserError, match="-weights gone.params: no such file"):
        networks.create("VGG16", "gone.params")


def test_files_of_pytorch_belong_to_the_zoos_networks(monkeypatch, tmp_path):
    monkeypatch.setattr(backbones, "create", lambda name, which, ctx, size, **_: name)
    for file, name in (("x.pth", "resnet50_v1b"), ("x.safetensors", "resnet50_v1b"), ("x.h5", "keras-resnet50")):
        (tmp_path / file).touch()
        assert networks.create("ResNet50", str(tmp_path / file)) == name


def test_a_file_that_holds_no_parameters_says_so(pictures):
    with pytest.raises(UserError, match="does not fit --model conv4"):
        networks.create("conv4", str(pictures / "0.png"))


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


def test_vectors_that_got_lost_are_not_made_up(tmp_path):
    begun = outputs.Output(tmp_path, "x", "npy", 5, "key")
    begun.add(np.ones((4, 5)), {})
    begun.file.close()
    (tmp_path / "x.part" / "vectors").write_bytes(b"1234")
    with pytest.raises(UserError, match="shorter than it was"):
        outputs.Output(tmp_path, "x", "npy", 5, "key", resume=True)


def test_features_end_to_end(pictures):
    run(pictures)
    data = np.load(pictures / "transferfeature_data.npy")
    mx.random.seed(123)
    net = backbones.create("conv4")
    net.initialize(mx.init.MSRAPrelu())
    expected = [net(mx.nd.array(inputs.read(pictures / f"{i}.png", 32)[None])).asnumpy()[0] for i in range(6)]
    assert data.dtype == np.float32
    np.testing.assert_allclose(data, expected, rtol=1e-4, atol=1e-5)
    labels = np.load(pictures / "transferfeature_labels.npy")
    assert labels.tolist() == [["a"], ["b"], ["a"], ["b"], ["a"], ["b"]]
    run(pictures, "-to-csv")
    assert (pictures / "transferfeature.csv").read_text().startswith("Class,n0,n1,")
    run(pictures, "--parquet")
    run(pictures, "--orange", "-n", "orange")
    assert (pictures / "orange.csv").read_text().startswith("cD#Class,mS#path,C#n0,C#n1,")
    for name in ("transferfeature.csv", "transferfeature.parquet", "orange.csv"):
        np.testing.assert_array_equal(outputs.load(pictures / name)[0], data)
    with pytest.raises(UserError, match="--no-clobber"):
        run(pictures, "--no-clobber")
    with pytest.raises(UserError, match="list.csv is read, and would be replaced"):
        run(pictures, "-n", "list", "-to-csv")
    assert not list(pictures.glob("*.part"))


def test_the_call_gives_what_the_program_writes(pictures):
    mx.random.seed(1)
    net = backbones.network("conv4")
    net.initialize(mx.init.Xavier())
    net(mx.nd.zeros((1, 3, 32, 32)))
    net.save_parameters(str(pictures / "net.params"))
    run(pictures, "-weights", str(pictures / "net.params"))
    source, weights = inputs.from_csv(pictures / "list.csv"), str(pictures / "net.params")
    found = reading.embed(source, "conv4", weights, batch_size=4)
    np.testing.assert_array_equal(found, np.load(pictures / "transferfeature_data.npy"))
    assert len(found) == 6 and source.labels.tolist() == list("ababab")
    (pictures / "3.png").write_bytes((pictures / "3.png").read_bytes()[:60])  # the header alone
    with pytest.raises(UserError, match="3.png"):
        reading.embed(source, "conv4", weights)


def test_a_map_for_tensorboards_projector_has_what_could_be_read(pictures):
    (pictures / "2.png").write_bytes(b"none")
    for flags in ([], ["--orange"], ["--parquet"]):
        run(pictures, "-n", "x", "--projector", "--on-error", "skip", *flags)
        rows = np.loadtxt(pictures / "x_projector" / "tensors.tsv", delimiter="\t")
        np.testing.assert_allclose(rows, np.load(pictures / "x_data.npy"), rtol=1e-6)
        names = (pictures / "x_projector" / "metadata.tsv").read_text().splitlines()
        assert names == ["path\tlabel", *(f"{pictures / f'{i}.png'}\t{'ab'[i % 2]}" for i in (0, 1, 3, 4, 5))]
    with pytest.raises(UserError, match="x_projector: exists already, and --no-clobber"):
        run(pictures, "-n", "x", "--projector", "--on-error", "skip", "--orange", "--no-clobber")


def test_rows_of_npy_give_what_the_files_give(pictures):
    rows = [np.asarray(Image.open(pictures / f"{i}.png")).reshape(-1) for i in range(6)]
    np.save(pictures / "d.npy", np.array(rows, np.float32))
    np.save(pictures / "l.npy", np.arange(6))
    run(pictures, "-n", "files")
    run(pictures, "-he", "20", "-w", "30", "-n", "rows", source=("-data", "d.npy", "-labels", "l.npy"))
    np.testing.assert_array_equal(np.load(pictures / "rows_data.npy"), np.load(pictures / "files_data.npy"))
    assert np.load(pictures / "rows_labels.npy").tolist() == [[i] for i in range(6)]


def test_bad_pictures_stop_or_are_left_out(pictures):
    (pictures / "3.png").write_bytes((pictures / "3.png").read_bytes()[:200])  # fails late
    with pytest.raises(UserError, match=r"list.csv row 4: .*3.png is not a picture"):
        run(pictures)
    (pictures / "4.png").unlink()
    with pytest.raises(UserError, match="row 5.*no such file"):
        run(pictures)
    run(pictures, "--on-error", "skip")
    assert len(np.load(pictures / "transferfeature_data.npy")) == 4
    listed = (pictures / "transferfeature_failed.csv").read_text().splitlines()
    assert listed[0] == "row,reason" and "list.csv row 4" in listed[1] and "list.csv row 5" in listed[2]
    (pictures / "list.csv").write_text("a,0.png\nb,1.png\n")
    run(pictures)
    assert not (pictures / "transferfeature_failed.csv").exists()  # it told of files that are replaced now


def test_a_place_that_cannot_be_written_is_found_first(pictures):
    with pytest.raises(UserError, match="-dir .*gone is not a folder"):
        run(pictures, "-dir", str(pictures / "gone"))
    for name in ("a/b", "", "."):
        with pytest.raises(UserError, match="a plain name is needed"):
            run(pictures, "-n", name)


def test_int8_features_point_the_same_way(tmp_path, cifar_folder):
    require_weights("squeezenet1.1")
    for kind, flags in (("float32", []), ("int8", ["--int8"])):
        rows = "".join(f"{p.parent.name},{p}\n" for p in sorted(cifar_folder.glob("*/00[01]0.jpg")))
        (tmp_path / "l.csv").write_text(rows)
        run(tmp_path, "-tm", "squeezenet1.1", "-weights", "imagenet", "-n", kind, *flags, source=("-csv", "l.csv"))
    a, b = (np.load(tmp_path / f"{kind}_data.npy") for kind in ("float32", "int8"))
    assert len(a) == 20 and not np.array_equal(a, b)
    assert ((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).mean() > 0.98


def test_a_resumed_run_with_one_picture_left_has_the_same_bits(pictures, monkeypatch):
    """A batch of one took another product of matrices: the last digits differed."""
    (pictures / "list.csv").write_text("".join(f"a,{i}.png\n" for i in range(5)))
    flags = ["-tm", "alexnet"]
    run(pictures, *flags, "-n", "whole")
    add = outputs.Output.add
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(outputs.Output, "add", lambda self, *rows: killed() if self.seen else add(self, *rows))
        run(pictures, *flags, "-n", "resumed")
    run(pictures, *flags, "-n", "resumed", "--resume")
    assert (pictures / "resumed_data.npy").read_bytes() == (pictures / "whole_data.npy").read_bytes()


def killed():
    raise KeyboardInterrupt


def test_a_run_goes_on_in_the_engine_that_it_was_begun_with(pictures, monkeypatch):
    add = outputs.Output.add
    for name, pays in (("onnxruntime", 0), ("mxnet", 10**9)):
        monkeypatch.setattr(engine, "PAYS", pays)
        run(pictures, "-n", name)
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(outputs.Output, "add", lambda self, *rows: killed() if self.seen else add(self, *rows))
            run(pictures, "-n", f"{name}-resumed")
        monkeypatch.setattr(engine, "PAYS", 10**9 - pays)  # by which another would be chosen
        run(pictures, "-n", f"{name}-resumed", "--resume")
        files = [pictures / f"{part}_data.npy" for part in (name, f"{name}-resumed")]
        assert files[0].read_bytes() == files[1].read_bytes()
    rows = [np.load(pictures / f"{name}_data.npy") for name in ("onnxruntime", "mxnet")]
    assert 0 < np.abs(rows[0] - rows[1]).max() < 1e-4 * np.abs(rows[1]).max()


@pytest.mark.slow
def test_a_run_killed_at_any_moment_goes_on_to_the_same_file(tmp_path):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "d.npy", rng.integers(0, 256, (1500, 300), dtype=np.uint8))
    np.save(tmp_path / "l.npy", np.arange(1500))
    source = ["-data", tmp_path / "d.npy", "-labels", tmp_path / "l.npy", "-he", "10", "-w", "10", "-dir", tmp_path]
    command = [sys.executable, SCRIPT, *source, "-tm", "conv4", "-weights", "None", "-to-csv"]
    env = dict(os.environ, OMP_NUM_THREADS="1")
    killed = subprocess.Popen([*command, "-n", "killed"], env=env, stdout=subprocess.DEVNULL)
    state = tmp_path / "killed.part" / "state.json"
    while not state.is_file() and killed.poll() is None:
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not (tmp_path / "killed.csv").exists()
    again = subprocess.run([*command, "-n", "killed", "--resume"], env=env, capture_output=True, text=True, check=True)
    assert "continues after" in again.stdout
    subprocess.run([*command, "-n", "whole"], env=env, capture_output=True, check=True)
    assert (tmp_path / "killed.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_a_started_output_has_one_writer(tmp_path):
    begun = outputs.Output(tmp_path, "x", "npy", 5, "key")
    begun.add(np.ones((4, 5)), {})
    begun.save()
    code = f"from examples.transfer import outputs; outputs.Output({str(tmp_path)!r}, 'x', 'npy', 5, 'key')"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True)
    assert "x.part is written by another process now: wait for its end, or give another name" in done.stderr
    assert (tmp_path / "x.part" / "vectors").stat().st_size == 4 * 5 * 4


@pytest.mark.parametrize("text", ["{}", "[]", "null", "{", '{"key": "key", "seen": null, "failed": {}}'])
def test_a_started_output_that_says_nonsense_is_one_line(tmp_path, text):
    (tmp_path / "x.part").mkdir()
    (tmp_path / "x.part" / "state.json").write_text(text)
    with pytest.raises(UserError, match="state.json is not as it should be .*: leave --resume out to begin again"):
        outputs.Output(tmp_path, "x", "npy", 5, "key", resume=True)


@pytest.mark.parametrize("after", range(4))
def test_a_run_killed_while_it_tidies_up_can_be_resumed(tmp_path, monkeypatch, after):
    def begin(resume):
        output = outputs.Output(tmp_path, "x", "npy", 5, "key", resume)
        output.add(np.ones((4 - output.seen, 5), np.float32), {})
        return output

    unlink, done = Path.unlink, []

    def killed(path, **more):
        if path.parent.name == "x.part":
            if len(done) == after:
                raise KeyboardInterrupt
            done.append(path)
        unlink(path, **more)

    first = begin(False)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "iterdir", lambda folder: iter(sorted(folder.glob("*"), reverse=True)))  # vectors first
        patch.setattr(Path, "unlink", killed)
        with contextlib.suppress(KeyboardInterrupt):
            first.finish(np.zeros(4), [""] * 4)
    del first
    begin(True).finish(np.zeros(4), [""] * 4)
    np.testing.assert_array_equal(np.load(tmp_path / "x_data.npy"), np.ones((4, 5)))
    assert not (tmp_path / "x.part").exists()
