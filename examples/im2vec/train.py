#!/usr/bin/env python3
"""Learn a vector for each class of pictures, as word2vec does for words (Mikolov et al. 2013)."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))  # the repository: runs without an install

from common import cli, resume

DATASETS = ("cifar10", "cifar100", "emoji", "glyphs", "folder")
OBJECTIVE = cli.choice("negative", "softmax", "hierarchical", metavar="NAME")
FLAGS = {
    "data": [
        *cli.data("cifar100", DATASETS),
        ("--cifar10-dir", cli.DIR, None, "CIFAR-10's folder, downloaded to it when absent"),
        ("--cifar100-dir", cli.DIR, None, "CIFAR-100's folder, downloaded to it when absent"),
        ("--classes", cli.many(cli.NAME), None, "classes or coarse names, which are one class; default is all"),
        cli.IMAGE_SIZE,
    ],
    "network": [
        *cli.network("resnet20"),
        cli.USE_PRETRAINED,
        ("--backbone-lr", cli.non_negative_float, 0.0, "factor of --lr for a pretrained backbone; 0 freezes it"),
        cli.INT8,
    ],
    "vectors": [
        ("--objective", OBJECTIVE, "negative", "what vectors are trained for: %(choices)s"),
        ("--negatives", cli.whole(1, 10_000), 10, "classes drawn a picture, k"),
        ("--embed-dim", cli.width, None, "numbers in a vector; default is the width of the features, at most 256"),
    ],
    "optimisation": [
        ("--epochs", cli.positive_int, 30, "epochs; the learning rate falls over all of them along half a cosine"),
        ("--batch-size", cli.batch_size, None, "pictures, over all devices; default is 64, to 8 for under 16 batches"),
        ("--lr", cli.rate, None, "initial rate of SGD; default is 0.1, and 0.01 for a softmax on a frozen network"),
        ("--momentum", cli.unit_float, 0.9, "momentum of SGD"),
        ("--weight-decay", cli.non_negative_float, None, "default is 5e-4, and chosen on a frozen network: see README"),
    ],
    "run": [
        cli.run_dir("im2vec"),
        ("--resume", cli.switch, False, "train --input on; without it, continue the run in --run-dir or the newest"),
        ("--input", cli.FILE, None, "model to start from, with --resume; it is only read"),
        ("--output", cli.FILE, None, "write the model here too, beside model.params in the run folder"),
        cli.seed(),
        cli.log_interval(50),
        cli.NO_PLOTS,
    ],
    "devices": cli.DEVICES,
}


def parse_args(argv=None):
    p = cli.parser(__doc__, FLAGS)
    args = p.parse_args(argv)
    if args.embed_dim == 1:
        p.error("--embed-dim 1: of one number only the sign is left of a cosine: give 2 or more")
    if args.input and not args.resume:
        p.error("--input is what --resume starts from: add --resume")
    if args.input:  # a resumed model is a new run; a resumed run goes on in its folder
        args.resume = False
    else:
        args = resume.parse_args(p, argv, "im2vec")
    if args.input and args.output and pathlib.Path(args.input).resolve() == pathlib.Path(args.output).resolve():
        p.error("--output is --input, which stays as it is: give another name")
    if args.input and args.params:
        p.error("--input brings its own parameters: leave out --params")
    if args.model == "resnet20" and (args.use_pretrained or args.params):
        p.error("resnet20 is trained from scratch: pretrained are others, such as --model efficientnet_lite0")
    if args.int8 and (args.backbone_lr or not (args.use_pretrained or args.params or args.input)):
        p.error("--int8 reads a frozen backbone: it needs --use-pretrained or --params, and no --backbone-lr")
    return args


def sgd(args, classes, objective, frozen, decay):
    """The options of SGD for the network and for the class vectors.

    With negative sampling a picture meets few of many classes, so their vectors take larger steps. On frozen features
    a softmax takes smaller ones: f(x) is long there (its square some 2 * dim), and larger steps diverge.
    """
    lr = args.lr or (0.01 if frozen and objective != "negative" else 0.1)
    options = {"learning_rate": lr, "momentum": args.momentum, "wd": decay}
    few = (classes / 10) ** 0.5 if objective == "negative" else 1
    return options, {**options, "learning_rate": lr * few}


def main(args):
    import mxnet as mx  # takes 2.6 s: after the flags were read
    import numpy as np
    from mxnet import autograd

    from common import devices, metrics
    from common.data import walk
    from common.data.samplers import Shuffled
    from common.files.disk import write_array
    from common.run import Run
    from common.train import optimizer, trainer
    from examples.im2vec import data, evaluation, modelfile, stability, vectors, visualize

    contexts = devices.contexts(args.gpus, args.num_cpus)
    kvstore = devices.kvstore(args.kvstore)

    # Data: pictures of the chosen classes, some of each held back.
    before = evaluation.fitting(modelfile.describe(args.input), args) if args.input else None
    path = {"cifar10": args.cifar10_dir, "cifar100": args.cifar100_dir}.get(args.dataset) or args.data_path
    classes = before["classes"] if before else args.classes
    dataset = data.load(args.dataset, path, classes, args.seed, args.on_error)
    train_set, test_set = dataset.train, dataset.test
    grouped = data.groups(dataset)

    # f(x) and the class vectors: read from --input, or new.
    weights = args.params or ("imagenet" if args.use_pretrained else None)
    mx.random.seed(args.seed)
    if before:
        start = modelfile.load(args.input, contexts)
    else:
        about = {
            "dataset": args.dataset,
            "classes": train_set.class_names,
            "counts": np.bincount(train_set.labels, minlength=len(train_set.class_names)).tolist(),
            "groups": grouped and grouped[1],
            "group_names": grouped and grouped[0],
            "model": args.model,
            "pretrained": bool(weights),
            "size": args.image_size,
            "preprocessing": None,
            "dim": args.embed_dim,
            "objective": args.objective,
            "negatives": args.negatives,
            "epochs": 0,
        }
        start = modelfile.build(about, weights, contexts)
    net, objective, about = start.net, start.objective, start.metadata
    frozen = about["pretrained"] and args.backbone_lr == 0
    net.hybridize(static_alloc=True, static_shape=True)
    objective.hybridize(static_alloc=True, static_shape=True)

    data_is = {
        "training pictures": len(train_set), "classes": len(train_set.class_names), "held-back pictures": len(test_set),
        "workers": kvstore.num_workers,
    }  # fmt: skip
    run = Run.start(args, "im2vec", kvstore.rank, data_is)
    walk.write(train_set.skipped, run.folder / "skipped.txt")
    run.log(f"{args.dataset}: {len(train_set)} pictures of {len(train_set.class_names)} classes, {len(test_set)} held"
            f" back; {about['model']} at {net.size} px, objective {about['objective']}")  # fmt: skip

    # Batches of pictures, or of the features of a backbone that never changes.
    batch_size = data.batch_size(args.batch_size, len(train_set), len(contexts), kvstore.num_workers)
    sampler = Shuffled(len(train_set), batch_size, args.seed, kvstore.rank, kvstore.num_workers)
    if frozen:
        encode, loader, still = data.frozen(net, train_set, test_set, sampler, args)
    else:
        encode, loader, still = data.moving(net, train_set, test_set, sampler, args, kvstore.rank)

    # How strong the weight decay is; on frozen features, whether the vectors are stable with it.
    setting = len(train_set.class_names), about["objective"], frozen
    decays, stable = stability.decays(args.weight_decay, *setting), None
    if frozen and kvstore.num_workers == 1:
        stable = stability.of_features(run, args, about, still[0], decays, lambda decay: sgd(args, *setting, decay))
    decay = stable["decay"] if stable else decays[0]

    # One step: f(x) of the batch, the objective, the update of both.
    of_network, of_vectors = sgd(args, *setting, decay)
    moving = net.head.collect_params() if frozen else net.collect_params()
    if about["pretrained"]:
        net.backbone.collect_params().setattr("lr_mult", args.backbone_lr)
    groups = [(moving, "sgd", of_network), (objective.collect_params(), "sgd", of_vectors)]
    updater = optimizer.trainer(groups, kvstore)

    def step(batch):
        xs, ys = devices.split(batch.images, contexts), devices.split(batch.labels, contexts)
        with autograd.record():
            losses = [objective(encode(x), y) for x, y in zip(xs, ys)]
        autograd.backward(losses)
        # The mean over pictures and, as each is a step of its own in word2vec, over the terms of a picture's loss:
        # a learning rate then suits every objective and number of negatives.
        updater.step(len(batch.labels) * kvstore.num_workers * objective.terms)
        return {"loss": losses}

    def evaluate(epoch):
        evaluation.keep_vectors(run, objective, epoch + 1)
        return evaluation.accuracy(evaluation.scores(objective, evaluation.encode(encode, still[1])), test_set.labels)

    if not run.resumed:
        evaluation.keep_vectors(run, objective, 0)
    figures = trainer.fit(
        run,
        epochs=args.epochs,
        batches=loader.epoch,
        batches_per_epoch=len(sampler),
        step=step,
        blocks={"head" if frozen else "net": net.head if frozen else net, "objective": objective},
        trainers={"trainer": updater},
        start_epoch=lambda epoch: updater.optimizer.scale_rates(0.5 + 0.5 * np.cos(np.pi * epoch / args.epochs)),
        evaluate=evaluate,
        log_interval=args.log_interval,
        seed=args.seed,
        rank=kvstore.rank,
    )

    # The model: class vectors, the mean of f(x) and one example of each class.
    if kvstore.rank == 0:
        about["epochs"] += args.epochs
        found = evaluation.encode(encode, still[0])
        if not frozen:
            stable = stability.of_vectors(args, about, found, train_set.labels, (of_network, of_vectors))
        about["stability"] = stable
        start.means = evaluation.class_means(found, train_set.labels, len(train_set.class_names))
        start.examples = evaluation.typical(evaluation.scores(objective, found), train_set)
        guesses = evaluation.scores(objective, evaluation.encode(encode, still[1])).argmax(axis=1)
        confused = metrics.confusion(test_set.labels, guesses, len(train_set.class_names))
        write_array(run.folder / "confusion.npy", confused)
        for place in filter(None, (run.folder / "model.params", args.output)):
            run.log(f"model written to {modelfile.save(place, start)}")
        run.finish({**figures, **stability.figures(stable)})
        vectors.save(start, run.folder)
        run.log(stability.sentence(stable))
        if not args.no_plots:
            visualize.draw(start, run.folder, run.folder, run.history(), log=run.log)


if __name__ == "__main__":
    cli.launch(main, parse_args)
