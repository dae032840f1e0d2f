"""train.py, evaluate.py and search.py from end to end on small arrays and pictures."""

import json

import mxnet as mx
import numpy as np
import pytest
from PIL import Image

from common import backbones
from common.files.errors import UserError
from examples.vse import evaluate, flags, gallery, layouts, model, prepare, search, train
from examples.vse.losses import RankingLoss

SMALL = ["--dim", "24", "--dim_word", "12", "--batch_size", "32", "--max_epochs", "4"]
SMALL += ["--validFreq", "20", "--dispFreq", "5", "--lrate", "5e-3"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures are sums of their words: features of 16 numbers, five sentences of two to four words each."""
    place, rng = tmp_path_factory.mktemp("arrays"), np.random.default_rng(0)
    words = rng.normal(size=(40, 16))
    for part, count in (("train", 120), ("dev", 30), ("test", 30)):
        chosen = [rng.choice(40, 4, replace=False) for _ in range(count)]
        said = [rng.permutation(own)[: rng.integers(2, 5)] for own in chosen for _ in range(5)]
        texts = [" ".join(f"w{w}" for w in own) for own in said]
        np.save(place / f"f8k_{part}_ims.npy", np.array([words[own].sum(0) for own in chosen], np.float32))
        (place / f"f8k_{part}_caps.txt").write_text("\n".join(texts) + "\n")
    return place


def run(folder, *flags):
    train.main(train.parse_args(["--data-path", str(folder), *SMALL, *flags]))


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    place = tmp_path_factory.mktemp("run") / "run"
    run(folder, "--run-dir", str(place))
    return place


def test_training_ranks_far_above_chance(trained):
    figures = json.loads((trained / "metrics.json").read_text())
    assert figures["rsum"] > 350 > 2 * figures["chance_rsum"]
    assert figures["rsum"] > figures["before_training_rsum"] + 100
    assert figures["ridge_onto_tf_idf_rsum"] > 2 * figures["chance_rsum"]
    assert figures["i2t_median_rank"] <= 3 and figures["t2i_median_rank"] <= 4
    rows = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["rsum"] > rows[0].get("rsum", 0)
    page = (trained / "report.html").read_text()
    assert "A sentence and its best pictures" in page and "<script src" not in page
    net = model.load(trained / "model.params")
    assert net.vocabulary.counts[2] > 0 and net.metadata["metrics"]["rsum"] == max(r.get("rsum", 0) for r in rows)


def test_evaluate_gives_the_figures_of_training(trained, tmp_path, capsys):
    evaluate.main(evaluate.parse_args([str(trained / "model.params"), "--output", str(tmp_path / "f.json")]))
    assert "test: 30 pictures, 150 captions (5 a picture)" in capsys.readouterr().out
    rows = json.loads((tmp_path / "f.json").read_text())
    assert list(rows) == ["chance", "model.params"]
    found = rows["model.params"]
    expected = json.loads((trained / "metrics.json").read_text())
    assert found == pytest.approx({name: expected[name] for name in found})


def test_embeddings_are_written_with_what_they_are_of(trained, folder, tmp_path):
    place = tmp_path / "new" / "e"
    evaluate.main(evaluate.parse_args([str(trained / "model.params"), "--save-embeddings", str(place)]))
    images, sentences = (np.load(place / f"{name}.npy") for name in ("images", "sentences"))
    rows = (place / "sentences.csv").read_text().splitlines()
    texts = (folder / "f8k_test_caps.txt").read_text().splitlines()
    assert rows == ["text,label", *(f"{text},{number // 5}" for number, text in enumerate(texts))]
    rows = (place / "images.csv").read_text().splitlines()
    assert rows == ["path,label", *(f",{i}" for i in range(30))]
    net = model.load(trained / "model.params")
    np.testing.assert_allclose(images, net.encode_images(np.load(folder / "f8k_test_ims.npy")), atol=1e-6)
    np.testing.assert_allclose(sentences, net.encode_sentences(texts), atol=1e-6)


def test_a_picture_less_a_word_with_another(trained, folder, capsys):
    """A picture is the sum of its words: with one exchanged, the pictures nearest have the new word more often."""
    path, words = str(trained / "model.params"), {}
    for number, text in enumerate((folder / "f8k_test_caps.txt").read_text().splitlines()):
        words.setdefault(number // 5, set()).update(text.split())
    counts = {word: [n for n, own in words.items() if word in own] for own in words.values() for word in own}
    plus, having = max(counts.items(), key=lambda pair: len(pair[1]))
    had, have = 0, 0
    for image in [n for n in words if n not in having][:8]:
        minus = sorted(words[image])[0]
        for given in ([], ["--minus", minus, "--plus", plus]):
            search.main(search.parse_args([path, "--image", str(image), "-k", "3", "--minus", minus, *given]))
            found = [int(line.split("picture ")[1].split()[0]) for line in capsys.readouterr().out.splitlines()[1:]]
            assert len(found) == 3 and image not in found
            right = sum(number in having for number in found)
            had, have = (had, have + right) if given else (had + right, have)
    assert have > had + 3


@pytest.mark.parametrize(("given", "words"), [
    (["--text", "a", "--plus", "b"], "--minus and --plus change what is searched for by --image"),
    (["--gallery", "g"], "say what to do"),
    (["--text", "a", "--kind", "hnsw", "--index", "f"], "--kind is of the index that --gallery and --index make"),
])  # fmt: skip
def test_flags_of_search_that_do_not_go_together(given, words, capsys):
    with pytest.raises(SystemExit):
        search.parse_args(["m.params", *given])
    assert words in capsys.readouterr().err


def test_words_to_add_need_words_and_differences(trained, tmp_path):
    net = model.load(trained / "model.params")
    for measure, minus, message in (
        ("cosine", ["unheard"], "knows no word of 'unheard'"),
        ("cosine", ["w1"], "takes away all that the picture is"),
        ("order", ["w1"], "a model of --measure order has no differences"),
    ):
        net.metadata["measure"] = measure
        searched = gallery.Gallery(net, None, None, None)
        with pytest.raises(UserError, match=message):
            searched.changed(net.encode_sentences(["w1"])[0], minus, [])
    with pytest.raises(UserError, match="--index needs a model of --measure cosine"):
        gallery.build_index(net, np.eye(2), ["a", "b"], None)


def test_lengths_and_signs_as_vsepp_has_them(trained, folder, tmp_path, capsys):
    """The model says them, and figures, search and a run that goes on keep to them."""
    flags = ["--no_imgnorm", "--use-abs", "--max_epochs", "2", "--no-plots"]
    run(folder, *flags, "--run-dir", str(tmp_path / "run"))
    path = tmp_path / "run" / "model.params"
    net = model.load(path)
    linear, features = net.images.linear, np.load(folder / "f8k_test_ims.npy")
    images = np.abs(features @ linear.weight.data().asnumpy().T + linear.bias.data().asnumpy())
    np.testing.assert_allclose(net.encode_images(features), images, rtol=1e-4, atol=1e-5)
    texts = (folder / "f8k_test_caps.txt").read_text().splitlines()
    sentences = net.encode_sentences(texts)
    assert (sentences >= 0).all()
    np.testing.assert_allclose(np.linalg.norm(sentences, axis=1), 1, rtol=1e-4)
    figures = json.loads((tmp_path / "run" / "metrics.json").read_text())
    scores = images @ sentences.T
    ranks = (scores > scores[np.arange(150) // 5, np.arange(150)]).sum(axis=0)
    assert figures["t2i_mean_rank"] == pytest.approx(np.mean(ranks) + 1) and "t2i_map" not in figures
    capsys.readouterr()
    search.main(search.parse_args([str(path), "--text", texts[0], "-k", "1"]))
    best = (images @ sentences[0]).argmax()
    assert f"  {images[best] @ sentences[0]:.3f}  picture {best} " in capsys.readouterr().out
    directions = images / np.linalg.norm(images, axis=1, keepdims=True)
    scores = directions @ (directions[3] - sentences[0] + sentences[9])
    scores[3] = -np.inf
    search.main(search.parse_args([str(path), "--image", "3", "--minus", texts[0], "--plus", texts[9], "-k", "1"]))
    assert f"picture {scores.argmax()} " in capsys.readouterr().out
    with pytest.raises(UserError, match="--index needs embeddings of length one"):
        gallery.build_index(net, images, ["a"], None)
    run(folder, *flags, "--max_epochs", "1", "--start", str(path), "--run-dir", str(tmp_path / "on"))
    on = json.loads((tmp_path / "on" / "metrics.json").read_text())
    assert on["before_training_rsum"] == pytest.approx(figures["rsum"])
    for start, given, message in (
        (path, ["--use-abs"], "trained with no_imgnorm True: say so by --no_imgnorm"),
        (trained / "model.params", ["--use-abs"], "trained with use_abs False: leave out --use_abs"),
    ):
        with pytest.raises(UserError, match=message):
            run(folder, "--start", str(start), *given, "--run-dir", str(tmp_path / "other"))
    net.metadata.update(measure="order", use_abs=False)
    model.save(net, tmp_path / "signed.params")
    with pytest.raises(UserError, match="is of order without absolute values, which is not trained here"):
        run(folder, "--start", str(tmp_path / "signed.params"), "--measure", "order", "--run-dir", str(tmp_path / "o"))


def test_ties_as_published_stand_beside_ours(trained, folder, tmp_path, capsys):
    flags = [str(trained / "model.params"), "--ties", "published", "--output", str(tmp_path / "f.json")]
    evaluate.main(evaluate.parse_args(flags))
    rows = json.loads((tmp_path / "f.json").read_text())
    assert list(rows) == ["chance", "model.params", "model.params, ties as published"]
    ours, theirs = list(rows.values())[1:]
    assert ours["rsum"] <= theirs["rsum"] < ours["rsum"] + 60
    assert "model.params, ties as published: sentence to picture" in capsys.readouterr().out


def test_few_data_make_one_batch_and_a_small_folder_says_what_it_holds(tmp_path, capsys):
    """Rows once a caption, three of each; the width of the features is that of the file."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 8), ("dev", 4), ("test", 4)):
        np.save(tmp_path / f"f8k_{part}_ims.npy", rng.normal(size=(count, 7)).repeat(3, axis=0))
        (tmp_path / f"f8k_{part}_caps.txt").write_text(
            "".join(f"thing {i // 3} said {i % 3}\n" for i in range(3 * count))
        )
    run(tmp_path, "--run-dir", str(tmp_path / "run"), "--max_epochs", "1", "--no-plots", "--ties", "published")
    text = (tmp_path / "run" / "log.txt").read_text()
    assert "f8k, train: 8 pictures, 24 captions (3 a picture)" in text and "f8k, dev: 4 pictures" in text
    assert "batches of 8 sentences, as many as there are for them (--batch_size 32)" in text
    assert "trained, ties as published: picture to sentence" in text
    assert model.load(tmp_path / "run" / "model.params").metadata["dim_image"] == 7
    with pytest.raises(UserError, match="model.params takes features of 7 numbers, these have 6"):
        for part in ("train", "dev", "test"):
            file = tmp_path / f"f8k_{part}_ims.npy"
            np.save(file, np.load(file)[:, :6])
        start = ["--start", str(tmp_path / "run" / "model.params"), "--run-dir", str(tmp_path / "other")]
        run(tmp_path, *start)


def test_a_training_that_diverges_names_the_flag_of_this_program(folder, tmp_path, monkeypatch):
    def infinite(loss, F, images, sentences):
        return (F.sum(images) + F.sum(sentences)) * float("inf")

    monkeypatch.setattr(RankingLoss, "hybrid_forward", infinite)
    with pytest.raises(UserError, match="continue with --resume and a lower --lrate"):
        run(folder, "--run-dir", str(tmp_path / "run"), "--no-plots")


def test_search_of_features(trained, folder, tmp_path, capsys):
    texts = (folder / "f8k_test_caps.txt").read_text().splitlines()
    (tmp_path / "more.txt").write_text("w1 w2\n\nw3\n")
    flags = [str(trained / "model.params"), "--text", texts[0], "--image", "2", "-k", "3"]
    search.main(search.parse_args([*flags, "--sheet", str(tmp_path / "sheet.png")]))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == texts[0] and "picture" in lines[1] and lines[4] == "2"
    assert Image.open(tmp_path / "sheet.png").width > 200
    search.main(search.parse_args([*flags, "--sentences", str(tmp_path / "more.txt")]))
    assert {line.split("  ")[-1] for line in capsys.readouterr().out.splitlines()[5:]} == {"w1 w2", "w3"}
    for wrong, message in (
        (["--text", "nothing known"], "knows no word of 'nothing known'"),
        (["--image", "30"], "there are pictures 0 to 29"),
        (["--image", str(tmp_path / "sheet.png")], "takes features from files"),
    ):
        with pytest.raises(UserError, match=message):
            search.main(search.parse_args([flags[0], *wrong]))


@pytest.mark.slow
@pytest.mark.parametrize("flags", [
    ["--encoder", "gru", "--loss", "max"],
    ["--num-cpus", "2", "--encoder", "lstm", "--bidirectional", "--loss", "max"],
    ["--encoder", "gru", "--loss", "clip"],
])  # fmt: skip
def test_a_killed_run_resumed_gives_the_same_parameters(folder, tmp_path, monkeypatch, flags):
    flags = [*flags, "--warmup", "1", "--max_epochs", "3", "--no-plots", "--validFreq", "15"]
    run(folder, *flags, "--run-dir", str(tmp_path / "whole"))
    figures, save = [], model.save

    class Killed(Exception):
        pass

    def kill(*args, **more):
        figures.append(more)
        if len(figures) == 2:
            raise Killed
        save(*args, **more)

    monkeypatch.setattr(model, "save", kill)
    with pytest.raises(Killed):
        run(folder, *flags, "--run-dir", str(tmp_path / "cut"))
    monkeypatch.setattr(model, "save", save)
    run(folder, *flags, "--run-dir", str(tmp_path / "cut"), "--resume")
    whole, cut = (
        mx.nd.load(str(sorted((tmp_path / name / "checkpoints").glob("epoch-*"))[-1] / "net-0.params"))
        for name in ("whole", "cut")
    )
    assert whole.keys() == cut.keys()
    for name, array in whole.items():
        np.testing.assert_array_equal(array.asnumpy(), cut[name].asnumpy(), err_msg=name)


def test_the_softmax_learns_its_temperature(folder, tmp_path):
    flags = ["--loss", "clip", "--temperature", "0.2", "--num-cpus", "2", "--max_epochs", "3", "--no-plots"]
    run(folder, *flags, "--run-dir", str(tmp_path))
    figures = json.loads((tmp_path / "metrics.json").read_text())
    assert figures["rsum"] > 2 * figures["chance_rsum"]
    (loss,) = mx.nd.load(str(sorted((tmp_path / "checkpoints").glob("epoch-*"))[-1] / "loss-0.params")).values()
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    last = [row["temperature"] for row in rows if "temperature" in row][-1]
    assert 0.01 <= last < 0.2
    assert np.exp(-loss.asscalar()) == pytest.approx(last, rel=1e-4)


def test_start_words_and_order(folder, trained, tmp_path):
    """A saved model gone on with; words from vectors; the order measure with a sum of words."""
    start = ["--start", str(trained / "model.params"), "--max_epochs", "1", "--no-plots"]
    run(folder, *start, "--run-dir", str(tmp_path / "on"))
    on, before = (json.loads((place / "metrics.json").read_text()) for place in (tmp_path / "on", trained))
    assert on["before_training_rsum"] == pytest.approx(before["rsum"])
    with pytest.raises(UserError, match="was trained with encoder lstm: say so by --encoder lstm"):
        run(folder, *start, "--encoder", "gru", "--run-dir", str(tmp_path / "other"))
    vectors = tmp_path / "vectors.txt"
    vectors.write_text("".join(f"w{i} " + " ".join(["0.5"] * 24) + "\n" for i in range(30)))
    flags = ["--encoder", "bow", "--measure", "order", "--word-vectors", str(vectors), "--no-plots"]
    with pytest.raises(UserError, match="vectors of 24 numbers: add --dim_word 24"):
        run(folder, "--word-vectors", str(vectors), "--run-dir", str(tmp_path / "x"))
    run(folder, *flags, "--dim_word", "24", "--lrate", "1e-9", "--max_epochs", "1", "--run-dir", str(tmp_path / "bow"))
    net = model.load(tmp_path / "bow" / "model.params")
    table = net.sentences.words.weight.data().asnumpy()
    np.testing.assert_allclose(table[net.vocabulary.numbers["w7"]], 0.5, rtol=1e-3)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Flickr8k's layout with pictures of one colour, named by it; parameters for a small backbone."""
    place, rng = tmp_path_factory.mktemp("colours"), np.random.default_rng(0)
    colours = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 220), "white": (250, 250, 250)}
    (place / "pictures").mkdir()
    lines, names = [], []
    for i in range(60):
        word = list(colours)[i % 4]
        pixels = np.clip(np.array(colours[word]) + rng.integers(-20, 20, (24, 30, 3)), 0, 255).astype(np.uint8)
        names.append(f"{i}.png")
        Image.fromarray(pixels).save(place / "pictures" / names[-1])
        said = f"a {word} thing number {i % 5}", f"all {word}"
        lines += [f"{names[-1]}#{k}\t{text}" for k, text in enumerate(said)]
    (place / "tokens.txt").write_text("\n".join(lines) + "\n")
    for part, chosen in (("train", names[:44]), ("dev", names[44:52]), ("test", names[52:])):
        (place / f"{part}Images.txt").write_text("\n".join(chosen))
    mx.random.seed(0)
    network = backbones.network("conv4")
    network.initialize(mx.init.Xavier())
    network(mx.nd.zeros((1, 3, 32, 32)))
    network.save_parameters(str(place / "conv4.params"))
    return place


def test_a_picture_that_cannot_be_read_stops_or_is_skipped_and_listed(pictures, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("EMBEDDING_DATA", str(tmp_path / "data"))
    flags = ["--captions", str(pictures / "tokens.txt"), "--images", str(pictures / "pictures"), "--model", "conv4"]
    flags += ["--params", str(pictures / "conv4.params"), "--image-size", "32", *SMALL, "--batch_size", "8"]
    flags += ["--max_epochs", "1", "--no-plots"]
    bad = pictures / "pictures" / "55.png"  # of the test part
    kept = bad.read_bytes()
    bad.write_bytes(b"no picture")
    try:
        with pytest.raises(UserError, match="55.png"):
            train.main(train.parse_args([*flags, "--run-dir", str(tmp_path / "stopped")]))
        train.main(train.parse_args([*flags, "--run-dir", str(tmp_path / "run"), "--on-error", "skip"]))
        saved = str(tmp_path / "run" / "model.params")
        evaluate.main(evaluate.parse_args([saved]))
        elsewhere = [saved, *flags[:4]]
        with pytest.raises(UserError, match="55.png"):
            evaluate.main(evaluate.parse_args(elsewhere))
        evaluate.main(evaluate.parse_args([*elsewhere, "--on-error", "skip"]))
    finally:
        bad.write_bytes(kept)
    assert (tmp_path / "run" / "skipped.txt").read_text() == f"pictures that cannot be read\t{bad}\n"
    assert "test: 7 pictures, 14 captions (2 a picture)" in (tmp_path / "run" / "log.txt").read_text()
    assert capsys.readouterr().out.count("test: 7 pictures, 14 captions") == 3  # evaluate.py leaves out the same


@pytest.mark.slow
def test_pictures_frozen_then_finetuned_then_searched(pictures, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("EMBEDDING_DATA", str(tmp_path / "data"))
    flags = ["--captions", str(pictures / "tokens.txt"), "--images", str(pictures / "pictures"), "--model", "conv4"]
    flags += ["--params", str(pictures / "conv4.params"), "--image-size", "32", *SMALL, "--batch_size", "8"]
    train.main(train.parse_args([*flags, "--run-dir", str(tmp_path / "frozen")]))
    assert len(list((tmp_path / "data" / "features").glob("conv4-32-*/*.npz"))) == 3  # training, validation, test
    assert (tmp_path / "frozen" / "plots" / "pictures.png").is_file()
    start = ["--finetune", "--start", str(tmp_path / "frozen" / "model.params"), "--max_epochs", "2"]
    train.main(train.parse_args([*flags, *start, "--run-dir", str(tmp_path / "tuned"), "--backbone-lr", "1"]))
    before = backbones.create("conv4", str(pictures / "conv4.params"), size=32)._collect_params_with_prefix()
    after = model.load(tmp_path / "tuned" / "model.params").backbone._collect_params_with_prefix()
    changed = {n for n, p in after.items() if (p.data() != before[n].data()).sum().asscalar()}
    assert changed and all("body" in name and "running" not in name for name in changed)  # batch norms are kept
    figures = json.loads((tmp_path / "tuned" / "metrics.json").read_text())
    for name in ("frozen", "tuned"):
        saved = str(tmp_path / name / "model.params")
        evaluate.main(evaluate.parse_args([saved, "--output", str(tmp_path / f"{name}.json")]))
    assert json.loads((tmp_path / "tuned.json").read_text())["model.params"]["rsum"] == pytest.approx(figures["rsum"])
    capsys.readouterr()
    for name in ("frozen", "tuned"):
        saved = str(tmp_path / name / "model.params")
        some = str(pictures / "pictures" / "1.png")
        flags = ["--text", "a green thing", "--image", some, "--gallery", str(pictures / "pictures"), "-k", "4"]
        search.main(search.parse_args([saved, *flags, "--sheet", str(tmp_path / "s.png")]))
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == "a green thing" and all(".png" in line for line in lines[1:5]) and lines[5] == some
        search.main(search.parse_args([saved, *flags, "--engine", "onnxruntime"]))
        assert capsys.readouterr().out.splitlines() == lines[:-1]
    assert len(list((tmp_path / "data" / "weights" / "onnx").iterdir())) == 2  # a backbone each
    for kind in ("exact", "hnsw"):  # indexed once, then read: the same pictures
        index = ["--index", str(tmp_path / f"{kind}.faiss")]
        search.main(search.parse_args([saved, "--gallery", str(pictures / "pictures"), *index, "--kind", kind]))
        assert capsys.readouterr().out == f"60 pictures are indexed in {index[1]}\n"
        search.main(search.parse_args([saved, "--text", "a green thing", "--image", some, "-k", "4", *index]))
        assert capsys.readouterr().out.splitlines() == lines[:-1]
    with pytest.raises(UserError, match="hnsw.faiss was made by another model"):
        search.main(search.parse_args([str(tmp_path / "frozen" / "model.params"), "--text", "a green thing", *index]))
    (pictures / "pictures" / "bad.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match="bad.png is not a picture"):
        search.main(search.parse_args([saved, *flags]))
    search.main(search.parse_args([saved, *flags, "--on-error", "skip"]))
    said = capsys.readouterr()
    assert said.out.splitlines() == lines[:-1] and "bad.png" in said.err  # as before, without the sheet
    (pictures / "pictures" / "bad.png").unlink()
    gallery, reader = search.open_gallery(search.parse_args([saved, "--serve"]))
    client = search.app(gallery, reader).test_client()
    assert "8 pictures" in client.get("/").text
    assert client.get("/?q=all+blue").text.count("<figure>") == 8
    page = client.get("/?like=2").text
    assert "<h2>Sentences</h2>" in page and "<h2>Pictures</h2>" in page
    assert "knows no word" in client.get("/?q=xyz").text


@pytest.mark.parametrize("flags, message", [
    (["--dim_image", "17"], "--dim_image 17: the features have 16 numbers: leave the flag out"),
    (["--batch_size", "1"], "--batch_size 1: a pair is ranked against others of its batch"),
    (["--finetune"], "--finetune needs pictures"),
    (["--saveto", "/absent/m.params"], "--saveto /absent/m.params: its folder does not exist"),
    (["--maxlen_w", "1"], "raise --maxlen_w 1"),
    (["--encoder", "bow"], "--dim_word 12 must equal --dim 24"),
    (["--data", "emojis"], "--data emojis .did you mean emoji.*: no emojis_train_ims.npy"),
])  # fmt: skip
def test_wrong_use_is_one_line(folder, tmp_path, flags, message):
    with pytest.raises(UserError, match=message) as error:
        run(folder, *flags, "--run-dir", str(tmp_path / "run"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("flags, message", [
    (["--margin", "2"], "from 0 to 1"),
    (["--finetune", "--int8"], "leave it out with --finetune"),
    (["--kvstore", "dist_async"], "use dist_sync"),
    (["--preset", "f9k"], "invalid choice"),
])  # fmt: skip
def test_wrong_flags(capsys, flags, message):
    with pytest.raises(SystemExit) as end:
        train.parse_args(flags)
    assert end.value.code == 2 and message in capsys.readouterr().err


def test_the_documents_flags_have_its_defaults():
    args = train.parse_args([])
    wanted = {
        "dataset": "f8k", "margin": 0.2, "max_epochs": 15, "batch_size": 128, "dim": 1024, "dim_word": 300,
        "maxlen_w": 150, "dispFreq": 10, "validFreq": 100, "saveto": None, "encoder": "lstm", "grad_clip": 2.0,
        "lrate": 2e-4, "early_stop": 20, "loss": "sum", "measure": "cosine",
    }  # fmt: skip
    assert {name: getattr(args, name) for name in wanted} == wanted
    for given, name, size in (
        (["--captions", "t", "--images", "d"], "vgg19", 224),
        (["--data", "emoji"], "efficientnet_lite0", 128),
        (["--data", "glyphs"], "efficientnet_lite0", 64),
        (["--data", "glyphs", "--model", "conv4", "--image-size", "32"], "conv4", 32),
    ):
        metadata = prepare.metadata(train.parse_args(given))
        assert (metadata["model"], metadata["image_size"]) == (name, size)
    assert prepare.metadata(args)["model"] is None  # features from files
    for name in ("max_epochs", "batch_size", "dim_image", "dim_word", "maxlen_w", "grad_clip", "early_stop"):
        for flag in (f"--{name}", f"--{name.replace('_', '-')}"):
            assert getattr(train.parse_args([flag, "7"]), name) == 7


@pytest.mark.parametrize("name, lrate, batch_size", [("f8k", 0.001, 128), ("f30k", 0.01, 200), ("coco", 0.01, 300)])
def test_presets_are_the_documents_tables(name, lrate, batch_size):
    args = train.parse_args(["--preset", name])
    assert (args.dataset, args.lrate, args.batch_size, args.validFreq) == (name, lrate, batch_size, 100)
    assert args.dim == args.dim_word == 1000
    assert train.parse_args(["--preset", name, "--dim", "64"]).dim == 64  # a flag changes it
    assert set(flags.DATA) == set(layouts.NAMES)
