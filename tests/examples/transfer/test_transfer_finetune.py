"""The pieces of fine-tuning, each against its formula, and what is kept by validation pictures."""

import dataclasses
import itertools
import json

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd, gluon

from common import backbones
from common.backbones import build, modelfile
from common.files.errors import UserError
from common.train import optimizer
from common.train.schedule import one_cycle
from examples.transfer import data, evaluation, finetune, inputs, model, networks, predict, train
from tests.examples.transfer.conftest import coloured_folder

AUGMENTED = ["--crop-area", "0.35", "--mirror", "--lighting", "0.2"]
RECIPE = [
    "--fine-tune", "--fine-tune-layers", "all", "--optimizer", "adamw", "--lr", "1e-3", "--lr-head", "1e-2",
    "--weight-decay", "0.05", "--schedule", "one-cycle", "--label-smoothing", "0.1", "--average", "0.8", *AUGMENTED,
    "--augment", "trivial", "--erase", "0.5", "--cutmix", "1", "--mixup", "0.2",
    "--validation-share", "0.25", "--image-size", "48",
]  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    return coloured_folder(tmp_path / "data", (40, 60))


def flags(folder, run_dir, *more):
    common = ["--data-path", folder, "--model", "conv4", "--weights", "None", "--folds", "1", "--test-share", "0.25"]
    return [str(flag) for flag in [*common, "--batch-size", "5", "--run-dir", run_dir, *more]]


def run(folder, run_dir, *more):
    train.main(train.parse_args(flags(folder, run_dir, *more)))
    return json.loads((run_dir / "metrics.json").read_text())


def parsed(*more):
    return train.parse_args(["--data-path", "x", "--fine-tune", *more])


def conv4():
    mx.random.seed(0)
    net = backbones.create("conv4")
    net.initialize(mx.init.MSRAPrelu())
    return net


def linear(classes=3, width=4):
    rng = np.random.default_rng(1)
    weight, bias = rng.normal(size=(classes, width)).astype(np.float32), np.zeros(classes, np.float32)
    plain = np.zeros(width, np.float32)
    return model.Classifier("gluon", np.array(list("abc")[:classes]), plain, plain + 1, weight, bias, {})


def test_smoothed_cross_entropy_is_its_formula():
    rng = np.random.default_rng(0)
    scores, labels = rng.normal(size=(7, 5)), rng.integers(0, 5, 7)
    weights = np.array([1, 1, 2, 0, 1, 0.5, 1]).reshape(-1, 1)
    logs = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    for smoothing in (0, 0.1, 1):
        wanted = (1 - smoothing) * np.eye(5)[labels] + smoothing / 5
        expected = -(wanted * logs).sum(axis=1) * weights.ravel()
        loss = finetune.CrossEntropy(5, smoothing)
        found = loss(*(mx.nd.array(array) for array in (scores, labels, weights)))
        np.testing.assert_allclose(found.asnumpy(), expected, rtol=1e-5)
    mixed = rng.dirichlet(np.ones(5), 7)
    for smoothing in (0, 0.3):
        expected = -(((1 - smoothing) * mixed + smoothing / 5) * logs).sum(axis=1) * weights.ravel()
        loss = finetune.CrossEntropy(5, smoothing, mixed=True)
        found = loss(*(mx.nd.array(array) for array in (scores, mixed, weights)))
        np.testing.assert_allclose(found.asnumpy(), expected, rtol=1e-5)
    plain = gluon.loss.SoftmaxCrossEntropyLoss()
    arrays = [mx.nd.array(array) for array in (scores, labels, weights)]
    np.testing.assert_array_equal(finetune.CrossEntropy(5)(*arrays).asnumpy(), plain(*arrays).asnumpy())


def test_the_schedules():
    linear, cycle = (finetune.SCHEDULES[name] for name in ("linear", "one-cycle"))
    assert [linear(epoch, within, 4) for epoch, within in ((0, 0), (0, 0.9), (1, 0), (3, 0.5))] == [1, 1, 0.75, 0.25]
    assert [cycle(epoch, within, 4) for epoch, within in ((0, 0), (1, 0), (2, 0.5))] == [
        one_cycle(0), one_cycle(0.25), one_cycle(0.625),
    ]  # fmt: skip


def test_the_average_is_its_formula_and_forgets_the_first_weights():
    net, head = conv4(), finetune.dense(linear(width=512), 0, mx.cpu())
    net(mx.nd.zeros((1, 32, 32, 3)))
    average = finetune.Average(net, head, decay=0.5)
    learned = {**modelfile.values(net), **{f"head.{name}": array for name, array in modelfile.values(head).items()}}
    expected = {name: array.asnumpy().astype(np.float64) for name, array in learned.items()}
    rng = np.random.default_rng(0)
    for step in range(6):
        for array in learned.values():
            array += mx.nd.array(rng.normal(size=array.shape))
        average.update(step)
        decay = [0.1, 2 / 11, 3 / 12, 4 / 13, 5 / 14, 6 / 15][step]
        expected = {n: decay * old + (1 - decay) * learned[n].asnumpy() for n, old in expected.items()}
    kept = modelfile.values(average.net)
    kept |= {f"head.{name}": array for name, array in modelfile.values(average.head).items()}
    assert kept.keys() == expected.keys() and any("running_var" in name for name in kept)
    for name, array in kept.items():
        np.testing.assert_allclose(array.asnumpy(), expected[name], rtol=1e-4, atol=1e-4, err_msg=name)
    for step in (100, 101):  # the decay that was asked for
        before = average.head.bias.data().asnumpy()
        average.update(step)
        np.testing.assert_allclose(average.head.bias.data().asnumpy(), (before + head.bias.data().asnumpy()) / 2, 1e-5)


def test_the_average_reads_statistics_after_the_backward_pass_that_writes_them():
    """MXNet's engine does not wait for it by itself where batch norm and ReLU are one operator."""
    net, head = conv4(), finetune.dense(linear(width=512), 0, mx.cpu())
    net.hybridize()
    net.speed_up_training()
    trainer = optimizer.trainer([(net.collect_params(), "adamw", {"learning_rate": 1e-4})])
    pictures = mx.nd.array(np.random.default_rng(0).integers(0, 256, (64, 32, 32, 3)), dtype="uint8")
    net(pictures[:1])
    average = finetune.Average(net, head, decay=0.5)
    names = [name for name in modelfile.values(net) if "running" in name]
    expected = {name: modelfile.values(net)[name].asnumpy() for name in names}
    for step in range(4):
        with autograd.record():
            loss = (net(pictures) ** 2).sum()
        loss.backward()
        trainer.step(64)
        average.update(step)
        mx.nd.waitall()
        decay = min(0.5, (1 + step) / (10 + step))
        for name in names:
            expected[name] = decay * expected[name] + (1 - decay) * modelfile.values(net)[name].asnumpy()
    for name in names:
        found = modelfile.values(average.net)[name].asnumpy()
        np.testing.assert_allclose(found, expected[name], rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("more, moves, learns_statistics", [
    ([], "late", False), (["--fine-tune-layers", "all"], "all", True),
    (["--fine-tune-layers", "all", "--freeze-batch-norm"], "all", False),
])  # fmt: skip
def test_what_is_trained(more, moves, learns_statistics):
    net, head = conv4(), finetune.dense(linear(width=512), 0, mx.cpu())
    before = {name: array.asnumpy() for name, array in modelfile.values(net).items()}
    early, late = ({p.name for p in part} for part in net.early_late())
    found = finetune.groups(net, head, parsed(*more))
    assert [(name, options) for _, name, options in found] == [("adam", {"learning_rate": 1e-4, "wd": 0})]
    trainer = optimizer.trainer(found)
    pictures = mx.nd.random.uniform(0, 255, (6, 32, 32, 3))
    net.hybridize()
    with autograd.record():
        loss = head(net(pictures)).square().sum()
    loss.backward()
    trainer.step(1)
    names = {name: p.name for name, p in net._collect_params_with_prefix().items()}
    now = {name: array.asnumpy() for name, array in modelfile.values(net).items()}
    moved = {name for name in before if not np.array_equal(before[name], now[name])}
    statistics = {name for name in before if "running" in name and not name.startswith("normalize")}
    assert (statistics <= moved) is learns_statistics and bool(statistics & moved) is learns_statistics
    assert not any(name.startswith("normalize") for name in moved)
    weights = {names[name] for name in moved if name.endswith("weight")}
    everything = {names[name] for name in before if name.endswith("weight")}
    assert weights == (everything if moves == "all" else everything & late)
    assert any(name.endswith("gamma") for name in moved) is learns_statistics and early


def test_the_head_has_a_rate_of_its_own():
    net, head = conv4(), finetune.dense(linear(width=512), 0, mx.cpu())
    of_net, of_head = finetune.groups(
        net, head, parsed("--lr-head", "0.1", "--optimizer", "adamw", "--weight-decay", "0.05")
    )
    assert of_net[1:] == ("adamw", {"learning_rate": 1e-4, "wd": 0.05})
    assert of_head == ([head.weight, head.bias], "adamw", {"learning_rate": 0.1, "wd": 0.05})


def test_the_classifier_of_a_layer_gives_its_scores():
    head = finetune.dense(linear(), 0, mx.cpu())
    found = model.of_layer(head, ["a", "b", "c"], {"name": None})
    vectors = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    np.testing.assert_allclose(found.scores(vectors), head(mx.nd.array(vectors)).asnumpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.probabilities(vectors).sum(axis=1), 1, rtol=1e-5)


def test_augmented_batches_are_drawn_anew_each_epoch_and_go_on_where_they_were(folder, tmp_path):
    args = train.parse_args(flags(folder, tmp_path, "--fine-tune", *AUGMENTED))
    plain = train.parse_args(flags(folder, tmp_path, "--fine-tune"))
    found = data.pictures(args)
    batches = data.Batches(found.image_set, found.train, [32], args)
    first = list(batches.epoch(0))
    for (images, labels, _), (same, _, _), (other, *_) in zip(
        first, data.Batches(found.image_set, found.train, [32], plain).epoch(0), batches.epoch(1)
    ):
        assert images.shape == same.shape and images.dtype == np.uint8 and not np.array_equal(images, same)
        assert not np.array_equal(images, other)
        colour = images.mean(axis=(1, 2)).argmax(axis=1)  # crops of a red picture are red
        assert [["red", "green", "blue"][c] for c in colour] == [found.class_names[label] for label in labels]
    for (images, *_), (again, *_) in zip(first[2:], batches.epoch(0, start=2)):
        np.testing.assert_array_equal(images, again)
    one, two = (next(data.Batches(found.image_set, found.train, [32], args, 1, rank, 2).epoch(0))[0] for rank in (0, 1))
    assert not np.array_equal(one, two)


def test_pictures_are_augmented_as_they_are_resized(folder, tmp_path):
    """Of a window that is the whole picture nothing is left but the filter of --interpolation."""
    args = train.parse_args(flags(folder, tmp_path, "--fine-tune", "--mirror", "--interpolation", "bicubic"))
    found = data.pictures(args)
    for images, labels, _ in data.Batches(found.image_set, found.train, [32], args).epoch(0):
        plain = {name: [] for name in found.class_names}
        for file, label in zip(found.image_set.images, found.labels):
            plain[found.class_names[label]].append(inputs.read(file, 32, "bicubic"))
        for image, label in zip(images, labels):
            known = plain[found.class_names[label]]
            assert any(np.array_equal(image, other) or np.array_equal(image[:, ::-1], other) for other in known)


def test_mixed_batches_want_what_they_show_and_go_on_where_they_were(folder, tmp_path):
    """Of pictures of one colour each: a channel's light is the wanted probability of its class."""
    plain = data.pictures(train.parse_args(flags(folder, tmp_path, "--fine-tune")))
    channels = ["red", "green", "blue"]
    for more in (["--mixup", "1"], ["--cutmix", "1"]):
        args = train.parse_args(flags(folder, tmp_path, "--fine-tune", *more, "--num-cpus", "2"))
        batches = data.Batches(plain.image_set, plain.train, [32], args, 2)
        first = list(batches.epoch(0))
        assert batches.mixes and any((labels.max(axis=1) < 0.9).any() for _, labels, _ in first)
        for images, labels, weights in first:
            assert labels.shape == (len(images), 3) and len(images) % 2 == 0 and len(weights) == len(images)
            light = images.mean(axis=(1, 2))[:, [channels.index(name) for name in plain.image_set.class_names]]
            np.testing.assert_allclose(light, 60 + 100 * labels, atol=6)  # as `coloured_folder` has made them
        for (images, labels, _), (again, same, _) in zip(first[2:], batches.epoch(0, start=2)):
            np.testing.assert_array_equal(images, again)
            np.testing.assert_array_equal(labels, same)


def test_changes_reach_the_pictures(folder, tmp_path):
    found = data.pictures(train.parse_args(flags(folder, tmp_path, "--fine-tune")))

    def images(*more):
        args = train.parse_args(flags(folder, tmp_path, "--fine-tune", *more))
        return np.concatenate([batch[0] for batch in data.Batches(found.image_set, found.train, [32], args).epoch(0)])

    whole, erased = images(), images("--erase", "1")
    holes = (erased == 128).all(axis=-1)
    assert (holes.mean(axis=(1, 2)) > 0.01).all() and np.array_equal(whole[~holes], erased[~holes])
    changed = (images("--augment", "trivial") != whole).any(axis=(1, 2, 3))
    assert 0.4 < changed.mean() <= 1  # one of fourteen changes nothing, others nothing in such plain pictures


def validated(labels, superclasses=None):
    classes = np.array(["a", "b", "c"])
    half = np.arange(len(labels))
    return data.Data(None, None, labels, classes, half[:0], half, half, superclasses)


def test_the_better_classifier_is_kept():
    class Log(list):
        log = list.append

    labels = np.array([0, 1, 2, 0])
    vectors = 9 * np.eye(3, dtype=np.float32)[labels]
    plain = np.zeros(3, np.float32)
    right = model.Classifier("logistic", np.array(list("abc")), plain, plain + 1, np.eye(3), plain, {})
    wrong = dataclasses.replace(right, weight=np.roll(np.eye(3), 1, axis=0), kind="svm")
    found, figures = evaluation.better(right, wrong, vectors, validated(labels), Log())
    assert found is right and figures == {
        "head_validation_accuracy": 1.0, "refitted_validation_accuracy": 0.0, "classifier": "head",
    }  # fmt: skip
    found, figures = evaluation.better(wrong, right, vectors, validated(labels), Log())
    assert found is right and "classifier" not in figures
    without = dataclasses.replace(validated(labels), validation=np.array([], int))
    assert evaluation.better(right, wrong, vectors, without, Log()) == (wrong, {})


def test_a_class_of_the_right_group_counts_for_coarse_accuracy():
    plain = np.zeros(3, np.float32)
    named = model.Classifier("logistic", np.array(list("abc")), plain, plain + 1, np.eye(3), plain, {})
    vectors = np.eye(3, dtype=np.float32)[[0, 1, 2, 0]]  # of classes a, a, c, c: named a, b, c, a
    found = evaluation.held_back(named, vectors, validated(np.array([0, 0, 2, 2]), {"a": "x", "b": "x", "c": "y"}))
    assert found == {
        "accuracy": 0.5, "coarse_accuracy": 0.75, "validation_accuracy": 0.5, "validation_coarse_accuracy": 0.75,
    }  # fmt: skip
    assert "of their groups 0.7500" in evaluation.line({**found, "test_pictures": 4})


def test_validation_pictures_are_not_learned_from(folder, tmp_path):
    args = train.parse_args(flags(folder, tmp_path, "--fine-tune", "--validation-share", "0.25"))
    plain, found = data.pictures(args), data.load(args)
    parts = [set(part.tolist()) for part in (found.train, found.validation, found.test)]
    assert [len(part) for part in parts] == [13, 5, 6] and parts[0] | parts[1] == set(plain.train.tolist())
    assert set(found.labels[found.validation]) == {0, 1, 2} and parts[2] == set(plain.test.tolist())
    few = data.load(train.parse_args(flags(folder, tmp_path, "--fine-tune", "--validation-share", "0.01")))
    assert sorted(few.labels[few.validation]) == [0, 1, 2]  # one of each class, where the share is less
    with pytest.raises(UserError, match="--validation-share 0.99: "):
        data.load(train.parse_args(flags(folder, tmp_path, "--fine-tune", "--validation-share", "0.99")))


def interrupted(method, call):
    """`method`, and Ctrl-C after it was called so many times and once more."""
    calls = itertools.count()

    def stops(*given):
        done = method(*given)
        if next(calls) == call:
            raise KeyboardInterrupt
        return done

    return stops


@pytest.mark.slow
def test_the_whole_recipe_resumes_exactly_and_predicts(folder, tmp_path, capsys, monkeypatch):
    recipe = [*RECIPE, "--epochs", "3", "--num-cpus", "2"]
    found = run(folder, tmp_path / "run", *recipe)
    assert {"validation_accuracy", "head_validation_accuracy", "refitted_validation_accuracy"} <= set(found)
    for method, call in (("update", 4), ("evaluate", 2), ("save", 0), ("finish", 0)):
        stopped = tmp_path / f"{method}-{call}"
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(finetune.Tuning, method, interrupted(getattr(finetune.Tuning, method), call))
            run(folder, stopped, *recipe)
        train.main(train.parse_args(["--resume", "--run-dir", str(stopped)]))
        for name in ("model.params", "best.params", "finetuned_data.npy", "metrics.json"):
            assert (stopped / name).read_bytes() == (tmp_path / "run" / name).read_bytes(), (method, name)

    kept = model.load(tmp_path / "run" / "model.params")
    assert kept.preprocessing["size"] == 48 and kept.backbone["size"] == 48
    net = networks.tuned("conv4", kept.preprocessing, kept.parameters)
    best = model.load(tmp_path / "run" / "best.params")
    assert net.input_size == 48 and all((best.parameters[k] == v).min() for k, v in kept.parameters.items())
    capsys.readouterr()
    pictures = sorted(map(str, folder.glob("*/*.png")))
    predict.main(predict.parse_args([*pictures, "--params", str(tmp_path / "run" / "model.params")]))
    rows = [line.split(",") for line in capsys.readouterr().out.splitlines()[1:]]
    vectors = np.concatenate([net(mx.nd.array(inputs.read(path, 48)[None])).asnumpy() for path in pictures])
    assert [row[1] for row in rows] == kept.classes[kept.predict(vectors)].tolist()


@pytest.mark.slow
def test_the_best_epoch_is_kept(folder, tmp_path, monkeypatch):
    """Of three epochs the second, as if its validation accuracy were the highest."""
    seen, parameters = iter((0.5, 0.9, 0.7)), []

    def evaluate(tuning):
        parameters.append({name: array.asnumpy() for name, array in modelfile.values(tuning.net).items()})
        return {finetune.BEST: next(seen)}

    monkeypatch.setattr(finetune.Tuning, "evaluate", evaluate)
    run(folder, tmp_path / "run", "--fine-tune", "--epochs", "3", "--lr", "1e-2", "--validation-share", "0.25")
    kept = model.load(tmp_path / "run" / "model.params").parameters
    same = [all(np.array_equal(kept[k].asnumpy(), v) for k, v in epoch.items()) for epoch in parameters]
    assert same == [False, True, False]


@pytest.mark.slow
def test_the_size_of_frozen_features_is_noted_and_used(folder, tmp_path, capsys):
    run(folder, tmp_path / "run", "--image-size", "48")
    kept = model.load(tmp_path / "run" / "model.params")
    assert kept.backbone["size"] == 48 and len(kept.mean) == 128 * 3 * 3
    picture = str(folder / "red" / "0.png")
    predict.main(predict.parse_args([picture, "--params", str(tmp_path / "run" / "model.params")]))
    assert ",red," in capsys.readouterr().out


@pytest.mark.parametrize("more, words", [
    (["--label-smoothing", "0.1"], "--label-smoothing goes with --fine-tune"),
    (["--fine-tune-layers", "all"], "--fine-tune-layers goes with --fine-tune"),
    (["--average", "0.9"], "--average goes with --fine-tune"),
    (["--augment", "trivial"], "--augment goes with --fine-tune"),
    (["--erase", "0.5"], "--erase goes with --fine-tune"),
    (["--cutmix", "1"], "--cutmix goes with --fine-tune"),
    (["--mixup", "1"], "--mixup goes with --fine-tune"),
    (["--fine-tune", "--augment", "strong"], "invalid choice: 'strong'"),
    (["--fine-tune", "--cutmix", "-1"], "'-1' is not"),
    (["--mirror"], "--mirror goes with --fine-tune"),
    (["--validation-share", "0.2"], "--validation-share goes with --fine-tune"),
    (["--fine-tune", "--freeze-batch-norm"], "--freeze-batch-norm goes with --fine-tune-layers all"),
    (["--fine-tune", "--crop-area", "1.5"], "'1.5' is not a number from 0 to 1"),
    (["--fine-tune", "--optimizer", "sgd"], "invalid choice: 'sgd'"),
    (["--fine-tune", "--schedule", "cosine"], "invalid choice: 'cosine'"),
    (["--fine-tune", "--lr-head", "0"], "'0' is not a number above 0"),
    (["--features", "x", "--image-size", "64"], "--image-size needs pictures"),
])  # fmt: skip
def test_flags_that_do_not_fit_are_one_line(more, words, capsys):
    given = more if "--features" in more else ["--data-path", "x", *more]
    with pytest.raises(SystemExit) as end:
        train.parse_args(given)
    error = capsys.readouterr().err
    assert end.value.code == 2 and words in error and error.count("\n") == 1


def test_data_with_its_own_validation_pictures_takes_no_share(folder, tmp_path, monkeypatch):
    args = train.parse_args(flags(folder, tmp_path, "--fine-tune", "--validation-share", "0.25"))
    own = dataclasses.replace(data.pictures(args), validation=np.arange(3))
    monkeypatch.setattr(data, "pictures", lambda args: own)
    with pytest.raises(UserError, match="--validation-share: --dataset folder has 3 pictures of its own"):
        data.load(args)


def test_networks_of_one_size_refuse_another():
    net = networks.create("conv4", "None", size=64)
    assert net.input_size == net.preprocessing.size == 64 and net.width == 128 * 16
    with pytest.raises(UserError, match="--image-size 8 is too small for --model squeezenet1.1"):
        networks.create("squeezenet1.1", "None", size=8)


class Dense(gluon.HybridBlock):
    """A network with a dense layer on maps, as VGG has them."""

    def __init__(self):
        super().__init__()
        with self.name_scope():
            self.features = gluon.nn.HybridSequential()
            self.features.add(gluon.nn.Conv2D(4, 3, strides=16, in_channels=3), gluon.nn.Flatten(), gluon.nn.Dense(5))
            self.output = gluon.nn.Dense(2, in_units=5)

    def hybrid_forward(self, F, x):
        return self.output(self.features(x))


def test_weights_of_dense_layers_refuse_pictures_of_another_size(monkeypatch, tmp_path):
    made = Dense()
    made.initialize()
    made(mx.nd.zeros((1, 3, 224, 224)))
    made.save_parameters(str(tmp_path / "x.params"))
    monkeypatch.setattr(build, "network", lambda name, size: Dense())
    assert networks.create("conv4", str(tmp_path / "x.params")).width == 5
    with pytest.raises(UserError, match="^--image-size 48: the weights of conv4 take pictures of 224 pixels$"):
        networks.create("conv4", str(tmp_path / "x.params"), size=48)


def test_pictures_to_learn_from_may_be_smaller(folder, tmp_path, monkeypatch):
    seen = {"learned": set(), "read": set()}

    class Batches(data.Batches):
        def epoch(self, *args):
            for batch in super().epoch(*args):
                seen["learned"].add(batch[0].shape[1:3])
                yield batch

    stream = data.features.stream

    def watched(batches, *args, **options):
        for vectors, batch in stream(batches, *args, **options):
            seen["read"].add(batch.images.shape[1:3])
            yield vectors, batch

    monkeypatch.setattr(data, "Batches", Batches)
    monkeypatch.setattr(data.features, "stream", watched)
    more = ["--model", "squeezenet1.1", "--image-size", "64", "--train-size", "48", "--fine-tune", "--epochs", "1"]
    run(folder, tmp_path / "run", *more, "--crop-area", "0.35", "--validation-share", "0.25")
    assert seen == {"learned": {(48, 48)}, "read": {(64, 64)}}
    assert model.load(tmp_path / "run" / "model.params").preprocessing["size"] == 64
    seen["learned"].clear()
    more[more.index("48")], more[more.index("1", 4)] = "32,48,56", "6"
    args = train.parse_args(flags(folder, tmp_path / "growing", *more))
    found = data.pictures(args)
    sides = finetune.sides(networks.create("squeezenet1.1", "None"), args)
    learned = data.Batches(found.image_set, found.train, sides, args)
    assert [next(learned.epoch(epoch))[0].shape[1] for epoch in range(6)] == [32, 32, 48, 48, 56, 56]
    with pytest.raises(UserError, match="--train-size 48: conv4 takes pictures of 32 pixels only"):
        run(folder, tmp_path / "fixed", "--fine-tune", "--train-size", "48")
