"""Each layout of pictures and sentences, written small by the test; and batches of pairs."""

import json

import numpy as np
import pytest
import scipy.io
from PIL import Image

from common.data import images
from common.files.errors import UserError
from common.text.vocabulary import Vocabulary, tokenise
from examples.vse import data, layouts, pictures

SIZES = {"train": 6, "dev": 3, "test": 4}


def features(part, start=0):
    count = SIZES[part]
    return (np.arange(count * 8).reshape(count, 8) + 100 * start).astype(np.float32)


def write_kiros(folder, stem, per_caption=False, captions=5):
    folder.mkdir(exist_ok=True)
    for number, part in enumerate(SIZES):
        rows = features(part, number)
        np.save(folder / f"{stem}{part}_ims.npy", np.repeat(rows, captions, axis=0) if per_caption else rows)
        lines = [f"{part} picture {i} said {k}" for i in range(len(rows)) for k in range(captions)]
        (folder / f"{stem}{part}_caps.txt").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("stem", ["f8k_", ""])  # Kiros's names, vsepp's
@pytest.mark.parametrize("per_caption", [False, True])
def test_kiros_and_vsepp(tmp_path, stem, per_caption):
    write_kiros(tmp_path, stem, per_caption)
    parts = layouts.load("f8k", tmp_path)
    for number, (name, part) in enumerate(parts.items()):
        np.testing.assert_array_equal(part.features, features(name, number))
        assert part.features.dtype == np.float32 and part.pictures is None
        np.testing.assert_array_equal(part.sentence_labels, np.repeat(np.arange(SIZES[name]), 5))
        assert part.texts[7] == f"{name} picture 1 said 2"


def test_other_names_and_other_counts(tmp_path):
    write_kiros(tmp_path / "mine", "mine_", captions=4)
    part = layouts.load("mine", tmp_path)["dev"]
    np.testing.assert_array_equal(part.sentence_labels, np.repeat(np.arange(3), 4))


@pytest.mark.parametrize("counts", [[3] * 12, [6] * 12, [*[5] * 5, 4, *[5] * 6], [1, 2, 4, 7]])
def test_rows_that_stand_once_a_caption_are_one_picture(tmp_path, counts):
    """However many captions each picture has; two pictures of equal features are told apart where the counts tell."""
    write_kiros(tmp_path, "f8k_")
    rows = np.random.default_rng(0).normal(size=(len(counts), 8))
    if len(set(counts)) == 1:
        rows[5] = rows[4]
    np.save(tmp_path / "f8k_dev_ims.npy", np.repeat(rows, counts, axis=0))
    (tmp_path / "f8k_dev_caps.txt").write_text("".join(f"said {i}\n" for i in range(sum(counts))))
    part = layouts.load("f8k", tmp_path)["dev"]
    np.testing.assert_array_equal(part.features, rows.astype(np.float32))
    np.testing.assert_array_equal(part.sentence_labels, np.repeat(np.arange(len(counts)), counts))
    each = str(counts[0]) if len(set(counts)) == 1 else f"{min(counts)} to {max(counts)}"
    assert part.summary() == f"{len(counts)} pictures, {sum(counts)} captions ({each} a picture)"


def test_the_number_of_captions_can_be_given(tmp_path):
    write_kiros(tmp_path, "f8k_", per_caption=True, captions=2)
    for part in SIZES:  # all pictures alike: nothing in the rows tells them apart
        np.save(tmp_path / f"f8k_{part}_ims.npy", np.ones((SIZES[part] * 2, 8), np.float32))
    assert layouts.load("f8k", tmp_path)["dev"].summary() == "1 pictures, 6 captions (6 a picture)"
    assert layouts.load("f8k", tmp_path, per_image=2)["dev"].summary() == "3 pictures, 6 captions (2 a picture)"
    assert layouts.load("f8k", tmp_path, per_image=1)["dev"].summary() == "6 pictures, 6 captions (1 a picture)"
    with pytest.raises(UserError, match="--captions-per-image 5: .*f8k_train_ims.npy has 12 rows for 12 captions"):
        layouts.load("f8k", tmp_path, per_image=5)
    np.save(tmp_path / "f8k_train_ims.npy", np.repeat(features("train"), 2, axis=0)[1:].repeat(2, axis=0)[:12])
    with pytest.raises(UserError, match="--captions-per-image 4: .*f8k_train_ims.npy has 2 equal rows from row 1 on"):
        layouts.load("f8k", tmp_path, per_image=4, splits=["train"])
    with pytest.raises(UserError, match="--captions-per-image is for folders of .npy features"):
        layouts.load("glyphs", per_image=5)


def test_lines_end_at_a_line_feed_alone(tmp_path):
    write_kiros(tmp_path, "f8k_")
    said = ["a\u2028b", "c\x0cd", "e\rf", "g\x1ch", "", *map(str, range(10))]
    (tmp_path / "f8k_dev_caps.txt").write_bytes(("\ufeff" + "\r\n".join(said) + "\n").encode())
    part = layouts.load("f8k", tmp_path)["dev"]
    assert part.texts == said and tokenise(part.texts[2]) == ["e", "f"]


def test_features_that_do_not_fit_are_named_before_training(tmp_path):
    write_kiros(tmp_path, "f8k_", per_caption=True)
    for value, match in (
        (np.nan, "f8k_dev_ims.npy: 1 of 15 rows hold numbers that are not finite .row 12.: mend these features"),
        (1e300, "f8k_dev_ims.npy in 32 bits: 1 of 5 rows hold numbers that are not finite"),
    ):
        rows = np.repeat(features("dev", 1), 5, axis=0).astype(float)
        rows[11, 3] = value
        np.save(tmp_path / "f8k_dev_ims.npy", rows)
        with pytest.raises(UserError, match=match):
            layouts.load("f8k", tmp_path)
    np.save(tmp_path / "f8k_dev_ims.npy", features("dev")[:, :7])
    with pytest.raises(UserError, match="of different widths .train 8, dev 7, test 8.: one network"):
        layouts.load("f8k", tmp_path)
    (tmp_path / "f8k_dev_ims.npy").write_bytes((tmp_path / "f8k_dev_ims.npy").read_bytes()[:90])
    with pytest.raises(UserError, match="f8k_dev_ims.npy is not as it should be"):
        layouts.load("f8k", tmp_path)
    header = {"descr": "<f4", "fortran_order": False, "shape": (1 << 32, 1 << 8)}
    with open(tmp_path / "f8k_dev_ims.npy", "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
    with pytest.raises(UserError, match="f8k_dev_ims.npy is not as it should be"):
        layouts.load("f8k", tmp_path)


def test_a_part_that_is_absent_is_named(tmp_path, emoji_folder):
    write_kiros(tmp_path, "f8k_")
    with pytest.raises(UserError, match="f8k_testall_ims.npy is not there, nor so the part testall .*--part testall"):
        layouts.load("f8k", tmp_path, splits=["testall"])
    with pytest.raises(UserError, match="--part testall is one of vsepp's folders"):
        layouts.load("emoji", emoji_folder, splits=["testall"])
    assert list(layouts.load("emoji", emoji_folder, splits=["dev"])) == ["dev"]


def test_one_part_alone_and_the_folder_of_get_data(tmp_path, monkeypatch):
    monkeypatch.setenv("EMBEDDING_DATA", str(tmp_path))
    (tmp_path / "kiros-coco").mkdir()
    write_kiros(tmp_path / "kiros-coco" / "coco", "")
    np.save(tmp_path / "kiros-coco" / "coco" / "testall_ims.npy", features("test"))
    (tmp_path / "kiros-coco" / "coco" / "testall_caps.txt").write_text("a b\n" * 20)
    assert list(layouts.load("coco", splits=["testall"])) == ["testall"]


def test_karpathy(tmp_path):
    splits = ["train", "val", "restval", "test", "train"]
    images = [
        {"split": split, "sentences": [{"raw": f"Picture {i}."}] * (i + 1)} for i, split in enumerate(splits)
    ]  # fmt: skip
    (tmp_path / "dataset.json").write_text(json.dumps({"images": images}))
    rows = np.arange(40.0).reshape(5, 8)
    scipy.io.savemat(tmp_path / "vgg_feats.mat", {"feats": rows.T})
    parts = layouts.load("f8k", tmp_path)
    np.testing.assert_array_equal(parts["train"].features, rows[[0, 2, 4]])
    np.testing.assert_array_equal(parts["train"].sentence_labels, np.repeat([0, 1, 2], [1, 3, 5]))
    assert parts["dev"].texts == ["Picture 1."] * 2 and parts["test"].texts == ["Picture 3."] * 4
    assert list(layouts.load("f8k", tmp_path, splits=["dev"])) == ["dev"]
    with pytest.raises(UserError, match="--part testall"):
        layouts.load("f8k", tmp_path, splits=["testall"])
    rows[3, 2] = np.inf
    scipy.io.savemat(tmp_path / "vgg_feats.mat", {"feats": rows.T})
    with pytest.raises(UserError, match="vgg_feats.mat, a column counted as a row: 1 of 5 rows .*.row 4."):
        layouts.load("f8k", tmp_path)
    for content in ({"other": rows}, {"feats": np.array([["a"]])}):
        scipy.io.savemat(tmp_path / "vgg_feats.mat", content)
        with pytest.raises(UserError, match="vgg_feats.mat is not as it should be"):
            layouts.load("f8k", tmp_path)
    scipy.io.savemat(tmp_path / "vgg_feats.mat", {"feats": rows[:4].T})
    with pytest.raises(UserError, match="vgg_feats.mat has 4 images, dataset.json 5"):
        layouts.load("f8k", tmp_path)


def write_pictures(folder, names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(folder / name)


def numbered(pictures):
    """Stands for a backbone: a picture's file number."""
    return np.array([[int(path.stem.split("_")[-1])] for path in pictures.images], np.float32)


def with_numbers(name, **options):
    """The splits of a data set with pictures, whose features are the numbers of their files."""
    splits = layouts.load(name, **options)
    pictures.read_features(splits, numbered)
    return splits


def test_flickr_token_file(tmp_path):
    names = [f"{i}.jpg" for i in range(6)]
    tokens = tmp_path / "Flickr8k.token.txt"
    tokens.write_text("".join(f"{name}#{k}\tText {k} of {name}\n" for name in names for k in range(2)))
    for part, chosen in (("train", names[:3]), ("dev", names[3:4]), ("test", names[4:])):
        (tmp_path / f"Flickr_8k.{part}Images.txt").write_text("\n".join(chosen))
    write_pictures(tmp_path / "pictures", names)
    parts = with_numbers("f8k", captions=[tokens], images=tmp_path / "pictures")
    np.testing.assert_array_equal(parts["test"].features, [[4], [5]])
    assert parts["test"].texts[2] == "Text 0 of 5.jpg" and len(parts["train"].pictures) == 3
    (tmp_path / "pictures" / "4.jpg").unlink()
    with pytest.raises(UserError, match="4.jpg is not there: give the folder of the pictures by --images"):
        with_numbers("f8k", captions=[tokens], images=tmp_path / "pictures")
    tokens.write_text("no tab\n")
    with pytest.raises(UserError, match="line 1: expected IMAGE#N, a tab and a text"):
        with_numbers("f8k", captions=[tokens], images=tmp_path / "pictures")


def test_odd_lists_are_told_in_one_line(tmp_path, capsys):
    names = ["a b.jpg", *(f"{i}.jpg" for i in range(9))]
    tokens = tmp_path / "t.token.txt"
    tokens.write_text(
        "\ufeff" + "".join(f"{name}#{k}\tText {k} of {name}\n" for name in names for k in range(2)) + "\n"
    )
    write_pictures(tmp_path / "pictures", names)

    def load(train, dev="5.jpg\n", test="6.jpg\n"):
        for part, text in (("train", train), ("dev", dev), ("test", test)):
            (tmp_path / f"{part}Images.txt").write_text(text)
        return layouts.load("f8k", captions=[tokens], images=tmp_path / "pictures")

    parts = load("\ufeffa b.jpg\n0.jpg 1.jpg\n2.jqg\n1.jpg\n3.jpg4.jpg\n\n", "5.jpg")
    assert [path.name for path in parts["train"].pictures.images] == ["a b.jpg", "0.jpg", "1.jpg"]
    assert parts["train"].texts[0] == "Text 0 of a b.jpg"
    assert capsys.readouterr().out == (
        f"the lists beside {tokens}: 2 names have no captions (2.jqg, 3.jpg4.jpg); 1 of them are two names without a"
        " line end between them; 1 names stand there twice and count once; 5 pictures with captions are in no list\n"
    )
    with pytest.raises(
        UserError, match="2 pictures are in two parts .1.jpg in train and dev, 6.jpg in train and test."
    ):
        load("0.jpg\n1.jpg\n6.jpg\n", "1.jpg\n")
    (tmp_path / "old_trainImages.txt").write_text("0.jpg\n")
    with pytest.raises(UserError, match="two lists of the part train, old_trainImages.txt and trainImages.txt"):
        load("0.jpg\n")
    tokens.write_text("0.jpg#0\tone 1.jpg#0\ttwo\n")
    with pytest.raises(UserError, match="line 1: two captions in a line"):
        load("0.jpg\n")


def test_the_real_flickr8k_captions(shared_data):
    """The official lists name 6,000, 1,000 and 1,000 pictures of five captions each."""
    folder = shared_data / "flickr8k_text"
    texts, lists = layouts.read_tokens(folder / "Flickr8k.token.txt"), layouts.split_lists(folder)
    assert {part: len(names) for part, names in lists.items()} == {"train": 6000, "dev": 1000, "test": 1000}
    assert all(len(texts[name]) == 5 for names in lists.values() for name in names)


@pytest.fixture
def parsed(monkeypatch):
    """How long each text is that was parsed as JSON: COCO's files take seconds each."""
    lengths, loads = [], json.loads
    monkeypatch.setattr(layouts.json, "loads", lambda text: lengths.append(len(text)) or loads(text))
    return lengths


def test_coco_json(tmp_path, parsed):
    files = []
    for part, numbers in (("train2014", range(8)), ("val2014", range(8, 24))):
        names = {100 + i: f"COCO_{part}_{i:04d}.jpg" for i in numbers}
        content = {
            "images": [{"id": k, "file_name": name} for k, name in reversed(names.items())],
            "annotations": [{"image_id": k, "caption": f" About {k}. "} for k in names for _ in range(2)],
        }
        files.append(tmp_path / f"captions_{part}.json")
        files[-1].write_text(json.dumps(content))
        write_pictures(tmp_path / "coco" / part, names.values())
    parts = with_numbers("coco", captions=files, images=tmp_path / "coco")
    assert parsed == [file.stat().st_size for file in files]  # each once
    np.testing.assert_array_equal(parts["dev"].features, [[8], [9]])  # an eighth of the validation pictures each
    np.testing.assert_array_equal(parts["test"].features, [[10], [11]])
    np.testing.assert_array_equal(parts["train"].features[:, 0], [*range(8), *range(12, 24)])
    assert parts["dev"].texts[0] == "About 108."
    with pytest.raises(UserError, match="have pictures in common: give each file once"):
        with_numbers("coco", captions=[*files, files[1]], images=tmp_path / "coco")


def test_karpathys_json_with_pictures(tmp_path, capsys, parsed):
    """His splits are kept, COCO's folders of pictures found, another split is told."""
    kinds = ["train", "restval", "val", "test", "test", "spare"]
    folders = ["train2014", "val2014", "val2014", "val2014", "val2014", "val2014"]
    names = [f"COCO_{folder}_{i:012d}.jpg" for i, folder in enumerate(folders)]
    for folder, name in zip(folders, names):
        write_pictures(tmp_path / folder, [name])
    images = [
        {"split": kind, "filename": name, "filepath": folder, "sentences": [{"raw": f" Number {i} "}, {"raw": "Again"}]}
        for i, (kind, name, folder) in enumerate(zip(kinds, names, folders))
    ]
    file = tmp_path / "dataset_coco.json"
    file.write_text(json.dumps({"images": images, "dataset": "coco"}))
    parts = with_numbers("coco", captions=[file], images=tmp_path)
    assert parsed == [file.stat().st_size]
    assert {name: part.features[:, 0].tolist() for name, part in parts.items()} == {
        "train": [0, 1], "dev": [2], "test": [3, 4],
    }  # fmt: skip
    assert parts["test"].texts == [" Number 3 ", "Again", " Number 4 ", "Again"]
    assert "dataset_coco.json: images of other splits are left out: 'spare' 1" in capsys.readouterr().out
    with pytest.raises(UserError, match="one of Karpathy's dataset_"):
        layouts.load("coco", captions=[file, file], images=tmp_path)
    del images[1]["filename"]
    file.write_text(json.dumps({"images": images}))
    with pytest.raises(UserError, match="dataset_coco.json: 1 images have no filename"):
        layouts.load("coco", captions=[file], images=tmp_path)
    file.write_text("[]")
    with pytest.raises(UserError, match="dataset_coco.json is not as it should be"):
        layouts.load("coco", captions=[file], images=tmp_path)


@pytest.mark.parametrize("flags, message", [
    ({"captions": ["a.txt"]}, "--captions needs --images"),
    ({"captions": ["a.txt", "b.txt"], "images": "."}, "one token file, one of Karpathy.s .* or several"),
    ({"captions": ["absent.txt"], "images": "."}, "absent.txt is not as it should be"),
    ({}, "--data f8k.*: no f8k_train_ims.npy.*get_data.sh f8k.*glyphs needs no download"),
])  # fmt: skip
def test_what_is_missing_is_named(tmp_path, monkeypatch, flags, message):
    monkeypatch.setenv("EMBEDDING_DATA", str(tmp_path))
    with pytest.raises(UserError, match=message):
        layouts.load("f8k", **flags)


def test_damaged_features_are_named(tmp_path):
    write_kiros(tmp_path, "f8k_")
    np.save(tmp_path / "f8k_dev_ims.npy", np.array([{}], dtype=object))
    with pytest.raises(UserError, match="f8k_dev_ims.npy is not as it should be"):
        layouts.load("f8k", tmp_path)
    np.save(tmp_path / "f8k_dev_ims.npy", features("dev")[:2])
    with pytest.raises(UserError, match="15 captions are no multiple of the 2 rows"):
        layouts.load("f8k", tmp_path)
    np.save(tmp_path / "f8k_dev_ims.npy", features("dev")[0])
    for empty in (np.zeros((0, 8)), np.zeros((15, 0))):
        np.save(tmp_path / "f8k_dev_ims.npy", empty)
        with pytest.raises(UserError, match="f8k_dev_ims.npy has shape"):
            layouts.load("f8k", tmp_path)
    np.save(tmp_path / "f8k_dev_ims.npy", features("dev")[0])
    with pytest.raises(UserError, match="has shape \\(8,\\) of float32: rows of numbers are wanted"):
        layouts.load("f8k", tmp_path)


def test_things_held_out(emoji_folder):
    parts = layouts.load("emoji", emoji_folder)
    names = {part: set(p.names) for part, p in parts.items()}
    assert len(names["test"]) == len(names["dev"]) == layouts.HELD_OUT == 200
    assert not names["test"] & names["train"] and not names["test"] & names["dev"] and not names["dev"] & names["train"]
    test = parts["test"]
    assert len(test.texts) == 1000 and len(test.image_labels) > 700
    for place in (0, 100, len(test.image_labels) - 1):  # picture, thing and sentence belong together
        code = test.pictures.images[place].stem
        assert test.names[test.image_labels[place]] == code
    assert {part: p.names for part, p in layouts.load("emoji", emoji_folder).items()} == {
        part: p.names for part, p in parts.items()
    }
    assert layouts.load("emoji", emoji_folder, seed=1)["test"].names != test.names


def test_features_of_a_whole_set_are_read_once(emoji_folder):
    """For all splits, whatever the seed: each picture has its own."""
    splits, read = layouts.load("emoji", emoji_folder), []

    def of_file(image_set):
        read.append(len(image_set))
        return np.array([[hash(path)] for path in image_set.images])

    pictures.read_features(splits, of_file)
    assert read == [sum(len(split.pictures) for split in splits.values())]
    for split in splits.values():
        assert split.features[:, 0].tolist() == [hash(path) for path in split.pictures.images]


def test_words_of_held_out_glyphs_are_trained_on():
    parts = layouts.load("glyphs")
    seen = {word for text in parts["train"].texts for word in tokenise(text)}
    for part in ("dev", "test"):
        assert len(parts[part].texts) == 200 and len(parts[part].image_labels) == 200 * 12
        assert all(word in seen for text in parts[part].texts for word in tokenise(text))
        assert not set(parts[part].texts) & set(parts["train"].texts)


@pytest.fixture
def pairs():
    rng = np.random.default_rng(0)
    texts = [" ".join(f"w{j}" for j in rng.integers(0, 9, rng.integers(1, 6))) for _ in range(300)]
    labels = np.repeat(np.arange(60), 5)
    image_labels = np.repeat(np.arange(60), 2)  # two pictures of each thing
    return data.Split(np.arange(120, dtype=np.float32)[:, None], image_labels, texts, labels)


def loader_of(split, batch_size=16, epochs=3, **options):
    sentences = data.Sentences(split.texts, Vocabulary.build(map(tokenise, split.texts)))
    sampler = data.PairSampler(split, sentences.lengths, batch_size, epochs, 5, **{"round_batches": 7, **options})
    return data.PairLoader(split, sentences, sampler)


@pytest.mark.parametrize("same_image", [False, True])
def test_batches(pairs, same_image):
    loader = loader_of(pairs, same_image=same_image)
    sampler, vocabulary, by_words = loader.sampler, Vocabulary.build(map(tokenise, pairs.texts)), {}
    for text, label in zip(pairs.texts, pairs.sentence_labels):
        by_words.setdefault(tuple(vocabulary.encode(tokenise(text))), set()).add(label)
    read = [list(loader.epoch(r)) for r in range(sampler.rounds)]
    assert [len(r) for r in read[:-1]] == [len(loader)] * (sampler.rounds - 1) == [7] * (sampler.rounds - 1)
    assert sum(map(len, read)) == sampler.updates
    crowded, pictures = False, set()
    for batch in (b for r in read for b in r):
        sentences = [words[words >= 0] for words in batch.words.T]
        assert all((s[:-1] > 0).all() and s[-1] == 0 for s in sentences)  # the end last, then nothing
        assert all((words[len(s) :] == -1).all() for s, words in zip(sentences, batch.words.T))
        labels = pairs.image_labels[batch.images[:, 0].astype(int)]
        assert all(label in by_words[tuple(words)] for label, words in zip(labels, sentences))
        crowded |= len(set(labels)) < len(labels)
        pictures |= set(batch.images[:, 0].astype(int))
    assert crowded == same_image and len(pictures) == 120
    epochs = [b.epoch for r in read for b in r]
    assert epochs == sorted(epochs) and set(epochs) == {0, 1, 2}
    again = list(loader_of(pairs, same_image=same_image).epoch(1, 3))  # from the middle of a round
    for ours, theirs in zip(again, read[1][3:]):
        np.testing.assert_array_equal(ours.images, theirs.images)
        np.testing.assert_array_equal(ours.words, theirs.words)


def test_a_batch_larger_than_the_data_is_the_data(pairs):
    some = data.Split(pairs.features, pairs.image_labels, pairs.texts[:30], pairs.sentence_labels[:30])
    loader = loader_of(some, 128, 2)
    assert loader.sampler.batch_size == 6 and {b.words.shape[1] for b in loader.epoch(0)} == {6}
    assert loader_of(some, 128, 2, same_image=True).sampler.batch_size == 30
    loader = loader_of(some, 4, 2, devices=3)  # of 30 sentences the last two make no batch
    assert {b.words.shape[1] for r in range(loader.sampler.rounds) for b in loader.epoch(r)} <= {3, 4}
    with pytest.raises(UserError, match="a batch of 6 is too small for 7 devices"):
        loader_of(some, 128, 2, devices=7)


def test_workers_share_the_batches(pairs):
    whole, first, second = (loader_of(pairs, **w) for w in ({}, *({"rank": r, "num_workers": 2} for r in (0, 1))))
    all_, half, other = (loader.sampler.updates for loader in (whole, first, second))
    assert half == other and abs(all_ - 2 * half) <= 3
    alone = list(whole.epoch(0))
    for ours, theirs in zip(alone, [b for both in zip(first.epoch(0), second.epoch(0)) for b in both]):
        np.testing.assert_array_equal(ours.words, theirs.words)


def test_devices_share_a_batch():
    batch = data.Pairs(np.arange(7)[:, None], np.arange(14).reshape(2, 7), 0)
    images, words = zip(*batch.split(2))
    assert [len(i) for i in images] == [w.shape[1] for w in words] == [4, 3]
    np.testing.assert_array_equal(np.concatenate(words, axis=1), batch.words)


def test_long_sentences_are_left_out(pairs):
    assert max(b.words.shape[0] for b in loader_of(pairs, max_words=2).epoch(0)) == 3
    with pytest.raises(
        UserError,
        match="0 sentences of at most 1 words, of 0 pictures, make no batch of 2: give more data or raise --maxlen_w 1",
    ):
        loader_of(data.Split(pairs.features, pairs.image_labels, ["a b"] * 300, pairs.sentence_labels), max_words=1)


def test_the_captions_of_a_picture_that_cannot_be_read_go_with_it(tmp_path):
    names = [f"{i}.jpg" for i in range(6)]
    tokens = tmp_path / "Flickr8k.token.txt"
    tokens.write_text("".join(f"{name}#{k}\tText {k} of {name}\n" for name in names for k in range(2)))
    for part, chosen in (("train", names[:3]), ("dev", names[3:4]), ("test", names[4:])):
        (tmp_path / f"Flickr_8k.{part}Images.txt").write_text("\n".join(chosen))
    write_pictures(tmp_path / "pictures", names)
    bad = tmp_path / "pictures" / "1.jpg"
    bad.write_bytes(b"no picture")
    flags = {"captions": [tokens], "images": tmp_path / "pictures", "on_error": "skip"}
    train = with_numbers("f8k", **flags)["train"]
    np.testing.assert_array_equal(train.features, [[0], [2]])
    assert train.texts == [f"Text {k} of {i}.jpg" for i in (0, 2) for k in range(2)]
    assert train.sentence_labels.tolist() == [0, 0, 1, 1] and train.image_labels.tolist() == [0, 1]
    assert [path for path, _ in train.pictures.skipped] == [bad]
    (tmp_path / "pictures" / "3.jpg").write_bytes(b"no picture")
    with pytest.raises(UserError, match="no picture of the dev list can be read"):
        with_numbers("f8k", **flags)


def test_a_thing_whose_pictures_cannot_be_read_goes_with_its_captions(emoji_folder, monkeypatch):
    whole = layouts.load("emoji", emoji_folder)
    code = whole["test"].names[0]
    monkeypatch.setattr(
        images, "unreadable", lambda paths, threads=2: {i: "" for i, path in enumerate(paths) if path.stem == code}
    )
    parts = layouts.load("emoji", emoji_folder, on_error="skip")
    assert not any(code in part.names for part in parts.values())
    assert sum(len(part.names) for part in parts.values()) == sum(len(part.names) for part in whole.values()) - 1
    test = parts["test"]
    assert all(test.names[label] == path.stem for label, path in zip(test.image_labels, test.pictures.images))
