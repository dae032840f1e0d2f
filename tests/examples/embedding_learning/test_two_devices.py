"""Many devices and many workers: the same training, only shared out.

The pictures are characters in the twelve faces; the network is conv4, whose batch norm keeps statistics a device.
"""

import json
import subprocess
import sys

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd, gluon
from PIL import Image

from common import backbones
from common.backbones.features import encode
from common.data import sets
from common.data.loader import Loader
from common.data.samplers import ClassBalanced
from common.data.sets import glyphs
from common.files.paths import REPO
from common.train.losses import MarginLoss
from common.train.miners import DistanceWeightedMiner
from common.train.session import seed_everything
from examples.embedding_learning import data, evaluation, model, train

SCRIPT = REPO / "examples" / "embedding_learning" / "train.py"
BATCHES, SIZE, RATE = 5, 32, 1e-3


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Thirty characters in twelve faces, as files CHARACTER/FACE.png."""
    root = tmp_path_factory.mktemp("characters")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(glyphs, "characters", lambda: list("abcdefghijkmnpqrstuvwxyzABDEFG"))
        whole = glyphs.load(root)
    for index, (label, face) in enumerate(zip(whole.labels, whole.domains)):
        folder = root / "pictures" / f"{ord(whole.class_names[label]):04x}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(whole.images[index]).save(folder / f"{face:02d}.png")
    return root / "pictures"


def flags(pictures, folder, *more):
    return [
        "--dataset", "folder", "--data-path", str(pictures), "--run-dir", str(folder), "--model", "conv4",
        "--image-size", str(SIZE), "--batch-size", "20", "--embed-dim", "16", "--lr", str(RATE), "--beta", "0.9",
        "--epochs", "1", "--epoch-batches", str(BATCHES), "--save-interval", "1", "--keep-all", "--no-plots", *more,
    ]  # fmt: skip


def checkpoint(folder, done, device=0):
    """Every parameter of a device after `done` batches: network and boundaries by name."""
    epoch, batch = divmod(done, BATCHES)
    name = f"epoch-{epoch:04d}-batch-{batch:06d}"
    place = folder / "checkpoints" / name
    return {
        f"{block}.{key}": value.asnumpy()
        for block in ("net", "loss")
        for key, value in mx.nd.load(str(place / f"{block}-{device}.params")).items()
    }


def is_statistic(name):
    """Whether batch norm counts it; the fixed normalisation of pictures is none."""
    return name.endswith(("running_mean", "running_var")) and ".normalize." not in name


class InTurn:
    """The same sub-batches one after the other on one context: a replica each, their gradients summed."""

    def __init__(self, args):
        self.args = args
        train_set = sets.load(args.dataset, args.data_path, args.protocol, args.seed).train
        self.replicas = []
        for _ in range(2):
            net = model.EmbeddingNet(backbones.create(args.model, size=SIZE), args.embed_dim)
            mx.random.seed(args.seed)
            net.initialize(mx.init.Xavier(magnitude=2))
            loss = MarginLoss(len(train_set.class_names), args.margin, args.beta, args.nu)
            loss.initialize()
            self.replicas.append((net, loss))
        self.miner = DistanceWeightedMiner(args.embed_dim, args.batch_k)
        sampler = ClassBalanced(
            train_set.labels, args.batch_size, args.batch_k, args.epoch_batches, args.seed, devices=2
        )
        self.loader = Loader(train_set, data.train_transform(args, SIZE), sampler, 0, args.seed)
        net, loss = self.replicas[0]
        self.trainers = [
            gluon.Trainer(net.collect_params(), "adam", {"learning_rate": RATE, "wd": args.wd, "epsilon": 1e-7}),
            gluon.Trainer(loss.collect_params(), "sgd", {"learning_rate": args.lr_beta, "momentum": 0.9}),
        ]

    def parameters(self, replica):
        net, loss = self.replicas[replica]
        named = {"net": net, "loss": loss}
        return {f"{b}.{k}": p for b in named for k, p in named[b]._collect_params_with_prefix().items()}

    def steps(self):
        """Run the epoch; after each batch give both replicas' values."""
        for batch in self.loader.epoch(0):
            seed_everything(self.args.seed, 0, batch.number, 0)
            halves = zip(self.replicas, np.split(batch.images, 2), np.split(batch.labels, 2))
            for (net, loss), x, y in halves:
                x, y = mx.nd.array(x, dtype="uint8"), mx.nd.array(y, dtype="int32")
                with autograd.record():
                    embeddings = net(x)
                    with autograd.pause():
                        pairs = self.miner(embeddings, y)
                    value = loss(embeddings, y, pairs)
                value.backward()
            first, second = self.parameters(0), self.parameters(1)
            for name, parameter in first.items():
                if parameter.grad_req != "null":
                    parameter.grad()[:] += second[name].grad()
            for one in self.trainers:
                one.step(len(batch.labels))
            for name, parameter in second.items():
                if not is_statistic(name):
                    parameter.set_data(first[name].data())
            yield [{n: p.data().asnumpy() for n, p in self.parameters(r).items()} for r in range(2)]


@pytest.mark.slow
@pytest.mark.parametrize("kvstore", ["device", "local"])
def test_two_devices_equal_their_parts_in_turn_step_by_step(pictures, tmp_path, kvstore):
    args = train.parse_args(flags(pictures, tmp_path, "--gpus=", "--num-cpus=2", "--kvstore", kvstore))
    train.main(args)
    before = {name: p.data().asnumpy() for name, p in InTurn(args).parameters(0).items()}
    for done, expected in enumerate(InTurn(args).steps(), 1):
        for device in range(2):
            ours = checkpoint(tmp_path, done, device)
            assert sorted(ours) == sorted(expected[device])
            for name, value in ours.items():
                np.testing.assert_allclose(value, expected[device][name], rtol=0, atol=1e-5, err_msg=f"{done} {name}")
        for name, value in checkpoint(tmp_path, done, 1).items():  # only the statistics are a device's own
            assert np.array_equal(value, checkpoint(tmp_path, done)[name]) != is_statistic(name)
        for name in ("net.dense.weight", "net.backbone.body.0.weight", "loss.beta"):  # a large step beside 1e-5
            assert np.abs(checkpoint(tmp_path, done)[name] - before[name]).max() > 50e-5


@pytest.mark.slow
def test_two_workers_end_with_the_same_parameters(pictures, tmp_path):
    launch = [sys.executable, "-m", "common.launch", "-n", "2", "-s", "1", "--", sys.executable, str(SCRIPT)]
    command = [*launch, *flags(pictures, tmp_path, "--kvstore", "dist_sync")]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    moved = {}
    for number in (1, BATCHES):
        first, second = checkpoint(tmp_path, number), checkpoint(tmp_path / "worker-1", number)
        assert sorted(first) == sorted(second)
        for name, value in first.items():  # each worker has batches of its own, so statistics of its own
            assert np.array_equal(value, second[name]) != is_statistic(name), name
        moved[number] = first["net.dense.weight"]
    assert np.abs(moved[1] - moved[BATCHES]).max() > RATE
    assert (tmp_path / "margin_loss_model.params").is_file()
    shared, other = (json.loads((tmp_path / worker / "metrics.jsonl").read_text().splitlines()[-1])
                     for worker in ("", "worker-1"))  # fmt: skip
    alone = model.load(tmp_path / "margin_loss_model.params")[0]
    args = train.parse_args(flags(pictures, tmp_path))
    parts = data.load(args)
    held, prefix = (parts.validation, "validation_") if parts.validation else (parts.test, "")
    rows = encode(alone, data.in_order(held, data.eval_transform(args, SIZE), 0).epoch())
    expected = evaluation.figures(evaluation.Tested(held, rows).search("r"))
    assert "recall@1" in expected
    for name, value in expected.items():  # as one worker finds them by the first one's network, whoever read what
        assert shared[prefix + name] == other[prefix + name] == value, name
    assert "recall@1" in json.loads((tmp_path / "metrics.json").read_text())
    assert not list((tmp_path / "worker-1").glob("*.params"))  # one worker keeps the best


@pytest.mark.slow
def test_workers_need_not_wait_for_each_other(pictures, tmp_path):
    launch = [sys.executable, "-m", "common.launch", "-n", "2", "-s", "1", "--", sys.executable, str(SCRIPT)]
    command = [*launch, *flags(pictures, tmp_path, "--kvstore", "dist_async")]
    for more in ([], ["--resume", "--epochs", "2"]):
        done = subprocess.run([*command, *more], cwd=REPO, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows if row["batch"] == 0] == [1, 2]
    assert all(np.isfinite(row["loss"]) for row in rows)
    before, after = (checkpoint(tmp_path, done)["net.dense.weight"] for done in (1, 2 * BATCHES))
    assert np.abs(after - before).max() > RATE


@pytest.mark.slow
def test_gpus_that_are_not_there_are_one_line(tmp_path):
    if mx.context.num_gpus() > 1:
        pytest.skip("this machine has GPUs 0 and 1")
    command = [sys.executable, str(SCRIPT), "--gpus=0,1", "--use-pretrained"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith(f"error: --gpus=0,1: this machine has {mx.context.num_gpus()} GPU")
    assert done.stderr.count("\n") == 1
