"""The runner gives what the suite gives, without it."""

import json
import shutil
import subprocess
import sys

import image_embeddings
import mxnet as mx
import numpy as np
import pytest
from image_embeddings import Gallery, Model, ModelError

from common.data import images
from common.files.paths import REPO
from common.text import vocabulary
from examples.embedding_learning import embed
from examples.visual_semantic import gallery, search

RUNNER = REPO / "runtime" / "image_embeddings.py"


@pytest.fixture(scope="module")
def searcher():
    """The suite's own."""
    return gallery.Searcher(search.SHIPPED)


@pytest.mark.parametrize("min_side", [0, 32, 128])
def test_pictures_are_read_as_the_suite_reads_them(pictures, min_side):
    for path in pictures:
        expected = images.read(path, min_side)
        np.testing.assert_array_equal(image_embeddings.read_picture(path, min_side), expected, str(path))


def test_pictures_are_resized_as_by_opencv():
    rng = np.random.default_rng(0)
    sizes = [(h, w, 64, 64) for h, w in ((128, 128), (192, 64), (64, 90), (256, 192), (63, 65))]
    sizes += [tuple(rng.integers(8, 200, 4)) for _ in range(60)]
    for height, width, high, wide in sizes:
        picture = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        found = image_embeddings.resize(picture, int(wide), int(high), "area")
        np.testing.assert_array_equal(found, images.resize(picture, (int(wide), int(high))), str((height, width)))


def test_pictures_are_embedded_named_and_found_as_by_the_suite(emoji, pictures, searcher):
    model = Model(emoji)
    expected = searcher.of_pictures(pictures)
    vectors = model.embed(pictures)
    np.testing.assert_allclose(vectors, expected, atol=1e-4)
    for path, ours, theirs in zip(pictures, model.names(pictures, 3), searcher.classes(expected, 3)):
        assert [name for name, _ in ours] == [name for _, name in theirs], path
        np.testing.assert_allclose([score for _, score in ours], [score for score, _ in theirs], atol=1e-4)
    pixels = images.read(pictures[0])
    np.testing.assert_allclose(model.embed(pixels), searcher.of_pictures([pixels]), atol=1e-4)
    found = model.search(pictures[0].parent, pictures[4], k=3)
    assert found[0][0] == str(pictures[4]) and found[0][1] == pytest.approx(1, abs=1e-5)
    scores = expected @ expected[4]
    assert [name for name, _ in found] == [str(pictures[i]) for i in np.argsort(-scores, kind="stable")[:3]]


def test_words_are_where_the_suite_has_them(emoji, word_file, searcher, pictures):
    searcher.word_vectors, model = word_file, Model(emoji)
    for text in ("cat", "Polar Bear", "polar-bear", "red panda", "cat face", "Waning  Gibbous Moon", "sunset"):
        np.testing.assert_allclose(model.words(text), searcher.of_text(text), atol=1e-5, err_msg=text)
    with pytest.raises(ModelError, match="no word vector for 'zebra' among the 6 words"):
        model.words("polar zebra")
    vectors = model.embed(pictures)
    best = pictures[int((vectors @ model.words("cat")).argmax())]
    assert model.search(pictures, "cat", 1)[0][0] == str(best)


@pytest.mark.parametrize("int8", [False, True])
def test_a_model_of_embeddings(glyphs, pictures, int8):
    from examples.embedding_learning.gallery import Embedder

    model = Model(glyphs, int8=int8)
    expected = Embedder(embed.SHIPPED, engine="mxnet", num_workers=0)(pictures)
    found = model.embed(pictures)
    if int8:
        made = model.manifest["int8"]
        assert made["pictures"] == made["same_top1"] == 6 and 0 <= made["in_float32"] <= made["convolutions"] == 4
        assert (found * expected).sum(axis=1).min() > 0.7
        return
    np.testing.assert_allclose(found, expected, atol=1e-4)
    order = sorted(pictures[:3], key=lambda path: path.name)
    mean = expected[[pictures.index(path) for path in order]].mean(axis=0)
    np.testing.assert_allclose(model.classes[0], mean / np.linalg.norm(mean), atol=1e-4)
    assert model.class_names == ["one", "two"] and model.name(pictures[4], 1)[0][0] == "two"
    with pytest.raises(ModelError, match="knows no words, 'cat' among them: give a picture"):
        model.search(pictures, "cat")


def test_a_class_is_added_by_words_or_pictures_and_kept_whole(emoji, pictures, tmp_path):
    folder = shutil.copytree(emoji, tmp_path / "model")
    model = Model(folder)
    count = len(model.class_names)
    model.add_class("red+panda")
    model.add_class("odd", pictures=pictures[:4], save=True)
    again = Model(folder)
    assert again.class_names[count:] == ["red+panda", "odd"] and again.titles[count:] == ["red panda", "odd"]
    np.testing.assert_array_equal(again.classes, model.classes)
    np.testing.assert_allclose(again.classes[count], again.words("Red Panda"), atol=1e-6)
    mean = again.embed(pictures[:4]).mean(axis=0)
    np.testing.assert_allclose(again.classes[-1], mean / np.linalg.norm(mean), atol=1e-6)
    assert len(list(folder.glob("classes*.npy"))) == 1 and not list(folder.glob(".*"))
    for name in ("odd", "Sunset", "Red Panda"):
        with pytest.raises(ModelError, match="already"):
            again.add_class(name, pictures=pictures[:1])
    with pytest.raises(ModelError, match="no word vector for 'gadget'"):
        again.add_class("gadget", save=True)
    assert len(Model(folder).class_names) == count + 2


def test_a_failing_disk_keeps_the_classes_that_were_there(emoji, pictures, tmp_path, monkeypatch):
    folder = shutil.copytree(emoji, tmp_path / "model")
    model = Model(folder)
    replace = image_embeddings.os.replace

    def refuse(source, target):
        if target.name == "model.json":
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(image_embeddings.os, "replace", refuse)
    with pytest.raises(ModelError, match="model.json: No space left on device"):
        model.add_class("odd", pictures=pictures[:2], save=True)
    again = Model(folder)
    assert "odd" not in again.class_names and len(again.classes) == len(again.class_names)


def test_a_read_only_disk_is_one_line(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(image_embeddings.os, "fsync", refuse)
    monkeypatch.setattr(image_embeddings.Path, "unlink", refuse)  # a name that is not there is refused too
    with pytest.raises(ModelError, match="cannot write .*v.npz: Read-only file system"):
        Gallery(["a"], np.ones((1, 2), np.float32)).save(tmp_path / "v.npz")


def test_sentences_are_cut_as_by_the_suite():
    texts = ["A dog's ball .", "Ein Käfer", "cafe\u0301 \ufb01n", "東京タワー の 夜", "❤️ red-heart", "हिन्दी"]
    assert [image_embeddings.tokenise(text) for text in texts] == [vocabulary.tokenise(text) for text in texts]


BLOCKED = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in {"common", "examples", "mxnet", "cv2", "onnx", "scipy", "sklearn", "faiss", "gluoncv", "tqdm"}:
            raise ImportError(f"{name} is not to be imported")

sys.meta_path.insert(0, Blocker())
sys.argv = sys.argv[1:]
import runpy

before = set(sys.modules)
runpy.run_path(sys.argv[0], run_name="__main__")
top = {name.partition(".")[0] for name in set(sys.modules) - before}
ours = top - set(sys.stdlib_module_names) - {"__main__", "__mp_main__"}
assert ours <= {"numpy", "onnxruntime", "PIL", "coloredlogs", "humanfriendly"}, ours
"""


def test_nothing_else_is_imported(emoji, pictures, tmp_path):
    """In a folder of its own, with the suite's packages blocked."""
    runner = shutil.copy(RUNNER, tmp_path)
    command = [sys.executable, "-c", BLOCKED, str(runner), "name", str(emoji), str(pictures[0]), "-k", "2"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == str(pictures[0]) and len(done.stdout.splitlines()) == 3


def test_the_command_line(emoji, pictures, tmp_path, capsys):
    folder, output = shutil.copytree(emoji, tmp_path / "model"), tmp_path / "all.npz"
    root = str(pictures[0].parent)
    image_embeddings.main(["embed", str(folder), root, "--output", str(output)])
    kept = Gallery.load(output)
    assert kept.names == [str(path) for path in pictures] and kept.vectors.shape == (len(pictures), 50)
    image_embeddings.main(["embed", str(folder), root, "--output", str(tmp_path / "all.csv")])
    rows = (tmp_path / "all.csv").read_text().splitlines()
    assert rows[0].startswith("path,e0,e1") and float(rows[1].split(",")[1]) == kept.vectors[0, 0]
    image_embeddings.main(["embed", str(folder), root, "--output", str(tmp_path / "all.npy")])
    np.testing.assert_array_equal(np.load(tmp_path / "all.npy"), kept.vectors)
    image_embeddings.main(["add", str(folder), "odd", "--pictures", *map(str, pictures[:3])])
    image_embeddings.main(["add", str(folder), "gadget", "--words", "cat"])
    capsys.readouterr()
    image_embeddings.main(["search", str(folder), "gadget", "--gallery", str(output), "-k", "2"])
    by_class = capsys.readouterr().out
    image_embeddings.main(["search", str(folder), "cat", "--gallery", root, "-k", "2", "--threads", "1"])
    assert capsys.readouterr().out == by_class and len(by_class.splitlines()) == 2
    image_embeddings.main(["name", str(folder), str(pictures[0]), "-k", "1"])
    assert len(capsys.readouterr().out.splitlines()) == 2


def broken(folder, name, change):
    (folder / name).write_bytes(change((folder / name).read_bytes()))


@pytest.mark.parametrize(("argv", "says"), [
    (["name", "{none}", "{picture}"], "cannot read {none}/model.json: No such file"),
    (["name", "{model}", "{none}"], "no such picture or folder"),
    (["name", "{model}", "{text}"], "is not a picture that can be read"),
    (["name", "{model}", "{picture}", "--int8"], "has no INT8 network"),
    (["name", "{model}", "{picture}", "-k", "0"], "-k is at least 1"),
    (["search", "{model}", "nosuchword", "--gallery", "{picture}"], "no word vector for 'nosuchword'"),
    (["search", "{model}", "none.png", "--gallery", "{picture}"], "cannot read the picture none.png"),
    (["search", "{model}", "cat", "--gallery", "{text}.npz"], "is no gallery"),
    (["embed", "{model}", "{picture}", "--output", "x.bin"], "--output x.bin: a name that ends in"),
    (["add", "{model}", "sunset"], "has a class 'sunset' already"),
    (["add", "{model}", "x", "--words", "a", "--pictures", "b"], "not allowed with argument"),
    (["fly", "{model}"], "invalid choice"),
])  # fmt: skip
def test_wrong_use_is_one_line(emoji, pictures, tmp_path, argv, says, capsys):
    names = {"model": emoji, "picture": pictures[0], "none": tmp_path / "none", "text": tmp_path / "text.png"}
    names["text"].write_bytes(b"no picture")
    with pytest.raises(ModelError) as error:
        image_embeddings.main([part.format(**names) for part in argv])
    assert says.format(**names) in str(error.value) and "\n" not in str(error.value)


def test_an_error_ends_with_status_2_and_no_traceback(emoji):
    done = subprocess.run([sys.executable, RUNNER, "name", emoji, "none.png"], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr == "error: none.png: no such picture or folder\n" and not done.stdout


@pytest.mark.parametrize(("name", "change", "says"), [
    ("model.onnx", lambda data: data[:-1], "model.onnx does not match its SHA-256"),
    ("classes.npy", lambda data: data[:-1] + b"\0", "classes.npy does not match its SHA-256"),
    ("model.json", lambda data: data[:100], "model.json: it is no JSON"),
    ("model.json", lambda data: b"{}", "describes no exported model"),
    ("model.json", lambda data: data.replace(b'"version": 1', b'"version": 2', 1), "has version 2"),
    ("model.json", lambda data: data.replace(b'"words": {', b'"wards": {', 1), "has no words"),
])  # fmt: skip
def test_a_damaged_folder_is_told(emoji, tmp_path, name, change, says):
    folder = shutil.copytree(emoji, tmp_path / "model")
    broken(folder, name, change)
    with pytest.raises(ModelError, match=says):
        Model(folder)


def test_a_network_that_resizes_itself(emoji, pictures, tmp_path, searcher):
    """The same pictures whole: what is left are roundings of the resize, and JPEGs that are not decoded smaller."""
    from examples.visual_semantic import export

    folder = tmp_path / "model"
    export.main(export.parse_args(["--package", str(folder), "--vocabulary", "0", "--resize-in-graph"]))
    model = Model(folder)
    model.manifest["input"]["resize"]["jpeg_min_side"] = 128  # to compare with what the suite decodes
    found, expected = model.embed(pictures), searcher.of_pictures(pictures)
    assert (found * expected).sum(axis=1).min() > 0.999
    assert json.loads((folder / "model.json").read_text())["words"] is None


def test_mxnet_is_not_needed_to_say_what_was_compared(glyphs):
    about = json.loads((glyphs / "model.json").read_text())
    seen = about["compared_with_mxnet"]
    assert seen["float32"]["same_top1"] == seen["float32"]["pictures"] == 6 and seen["float32"]["difference"] < 1e-4
    assert set(about["files"]) == {"float32", "int8"} and about["versions"]["mxnet"] == mx.__version__
    card = (glyphs / "MODEL_CARD.md").read_text()
    assert "## Limits" in card and "| int8 |" in card and about["files"]["int8"]["sha256"] in card
