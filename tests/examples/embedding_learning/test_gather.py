"""``--gather``: several devices and workers learn what one device learns from the whole batch."""

import subprocess
import sys

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd, gluon

from common import devices
from common.data.samplers import ClassBalanced, NearClasses
from common.files.errors import UserError
from common.files.paths import REPO
from common.train import optimizer
from common.train.mixed import LossScale
from common.train.session import seed_everything
from examples.embedding_learning import model, objective, train

SCRIPT = REPO / "examples" / "embedding_learning" / "train.py"
CLASSES, EACH, WIDTH, DIM = 8, 4, 12, 6
VARIANTS = {
    **{loss: [] for loss in objective.OF_BATCH},
    "margin of all": ["--miner", "all", "--nu", "0.1"],
    "margin with memory": ["--memory", "40"],
    "multi-similarity with memory": ["--loss", "multi-similarity", "--memory", "40"],
    "matryoshka": ["--matryoshka", "3,6", "--memory", "16"],
    "sgd": ["--optimizer", "sgd", "--lr", "1"],
}


def learned(flags, count, steps=4, loss_scale=None):
    """All that a dense layer and the loss have learned after some steps on `count` devices."""
    args = train.parse_args(["--embed-dim", str(DIM), "--batch-k", str(EACH), "--lr", "0.02", *flags])
    args.batch_size = CLASSES * EACH // count
    contexts = devices.contexts([], count)
    store = devices.kvstore("device")
    mx.random.seed(3)
    net = gluon.nn.Dense(DIM, in_units=WIDTH)
    net.initialize(mx.init.Xavier(), ctx=contexts)
    loss, miner, memory = objective.create(args, objective.options(args), CLASSES, contexts)
    gather = objective.gather(args, contexts, store)
    trainer = optimizer.trainer(objective.groups(args, net, loss), store)
    trainer.loss_scale = loss_scale
    for step in range(steps):
        rng = np.random.default_rng(step)
        labels = np.repeat(rng.permutation(CLASSES), EACH)
        rows = np.eye(CLASSES, WIDTH)[labels] + rng.normal(0, 0.5, (len(labels), WIDTH))
        seed_everything(0, 0, step, 0)
        with autograd.record():
            parts = zip(devices.split(rows, contexts), devices.split(labels, contexts))
            embedded, values = [(mx.nd.L2Normalization(net(x)), y) for x, y in parts], []
            for e, y in gather(embedded) if gather else embedded:
                with autograd.pause():
                    among = memory(e, y) if memory else ()
                    pairs = miner(e, y, *among) if miner else None
                values.append(loss(e, y, pairs, *among))
        trainer.backward(values)
        if gather:
            gather.backward(loss)
        trainer.step(len(labels))
    found = {
        f"{block} {name}": parameter.list_data()
        for block, of in (("net", net), ("loss", loss))
        for name, parameter in of._collect_params_with_prefix().items()
    }
    for values in found.values():
        assert all(np.array_equal(values[0].asnumpy(), value.asnumpy()) for value in values)
    first = {name: values[0].asnumpy() for name, values in found.items()}
    return {**first, **({"memory": memory.embeddings.list_data()[0].asnumpy()} if memory else {})}


@pytest.mark.parametrize("name", VARIANTS)
def test_devices_learn_what_one_learns_from_the_whole_batch(name):
    flags = VARIANTS[name] or ["--loss", name]
    one = learned(flags, 1)
    start = learned(flags, 1, steps=0)
    assert any(np.abs(one[key] - start[key]).max() > 1e-2 for key in one if key.startswith("net"))
    for count in (2, 4):
        shared = learned([*flags, "--gather"], count)
        assert sorted(shared) == sorted(one)
        for key, value in one.items():
            np.testing.assert_allclose(shared[key], value, rtol=0, atol=2e-5, err_msg=f"{count} {key}")


def test_scaled_losses_of_mixed_precision_teach_the_same():
    flags, scale = ["--gather"], LossScale()
    plain, scaled = learned(flags, 2), learned(flags, 2, loss_scale=scale)
    for key, value in plain.items():
        np.testing.assert_array_equal(scaled[key], value, err_msg=key)  # a power of two is taken off without rounding
    assert vars(scale) == {"value": 65536.0, "since": 4, "skipped": 0}


def test_each_device_alone_learns_something_else():
    one, apart = learned([], 1), learned([], 2)
    assert np.abs(one["net weight"] - apart["net weight"]).max() > 1e-2


@pytest.mark.parametrize("sampler", [ClassBalanced, NearClasses])
def test_the_parts_of_workers_and_devices_make_up_the_batches_of_one(sampler):
    labels = np.repeat(np.arange(17), 5)

    def batches(size, *where):
        made = sampler(labels, size, 2, 6, 3, *where)
        made.means = np.random.default_rng(0).normal(size=(17, 4))
        return [made.epoch(number) for number in (0, 1)]

    whole = batches(16)
    for count, of_each in ((2, 2), (4, 1), (1, 4)):
        parts = [batches(16 // count // of_each, of_each, rank, count, True) for rank in range(count)]
        assert np.array_equal(np.concatenate(parts, axis=2), whole)


@pytest.fixture(scope="module")
def run(coloured, tmp_path_factory):
    """``run(name, workers, *flags)``: train.py on a frozen network; the values of each worker's devices at the end."""
    root = tmp_path_factory.mktemp("gather")
    coloured(root / "pictures", 24, noise=90)
    net = model.create("conv4", 8, None, mx.cpu(), 16)
    mx.random.seed(0)
    net.initialize(mx.init.Xavier(), force_reinit=True)
    model.save(net, root / "start.params", crop=16, resize=16, keep_aspect=False, dataset="folder", classes=12)
    shared = [
        "--dataset", "folder", "--data-path", str(root / "pictures"), "--model", "conv4", "--image-size", "16",
        "--params", str(root / "start.params"), "--backbone-lr", "0", "--embed-dim", "8", "--batch-k", "2",
        "--lr", "0.01", "--epochs", "1", "--epoch-batches", "4", "--no-plots", "--validation-share", "0",
        "--beta", "0.6",
    ]  # fmt: skip

    def done(name, workers, *flags):
        command = [*shared, "--run-dir", str(root / name), *flags]
        if workers > 1:
            launch = [sys.executable, "-m", "common.launch", "-n", str(workers), "-s", "2", "--", sys.executable]
            told = subprocess.run(
                [*launch, str(SCRIPT), *command, "--kvstore", "dist_sync"],
                cwd=REPO, capture_output=True, text=True, timeout=300,
            )  # fmt: skip
            assert told.returncode == 0, told.stderr
        else:
            train.main(train.parse_args(command))
        folders = [root / name / part for part in ("", *(f"worker-{rank}" for rank in range(1, workers)))]
        files = [file for folder in folders for file in sorted(folder.glob("checkpoints/epoch-0001*/*.params"))]
        return [(file.name, {name: x.asnumpy() for name, x in mx.nd.load(str(file)).items()}) for file in files]

    return done


@pytest.mark.slow
def test_runs_of_devices_and_workers_end_with_the_parameters_of_one(run):
    def same(found, count):
        assert len(found) == count
        for name, values in found:
            for key, value in values.items():
                expected = one[name[: name.rindex("-")]][key]
                np.testing.assert_allclose(value, expected, rtol=0, atol=2e-5, err_msg=f"{name} {key}")

    memory = ["--memory", "16"]
    one = {name[: name.rindex("-")]: values for name, values in run("one", 1, "--batch-size", "16", *memory)}
    assert sorted(one) == ["loss", "memory", "net"]
    for count in (2, 4):
        flags = ["--batch-size", str(16 // count), "--num-cpus", str(count), "--gather", *memory]
        found = run(f"devices-{count}", 1, *flags)
        assert len(found) == 3 * count
        same([part for part in found if not part[0].startswith("memory")], 2 * count)
        same([part for part in found if part[0] == "memory-0.params"], 1)
    flags = ["--batch-size", "4", "--num-cpus", "2", "--gather", *memory]
    found = run("workers", 2, *flags)
    same([part for part in found if not part[0].startswith("memory")], 8)
    same([part for part in found if part[0] == "memory-0.params"], 2)


def test_it_is_refused_where_it_makes_no_sense():
    store = devices.kvstore("device")
    for flags, says in (
        (["--loss", "softmax"], "--gather has no effect on --loss softmax"),
        (["--kvstore", "dist_async"], "--kvstore dist_async"),
        (["--kvstore", "dist_sync", "--gradient-compression", "0.5"], "--gradient-compression"),
    ):
        with pytest.raises(UserError, match=says):
            train.parse_args(["--gather", *flags])
    with pytest.raises(UserError, match="one device of one worker"):
        objective.gather(train.parse_args(["--gather"]), [mx.cpu()], store)
