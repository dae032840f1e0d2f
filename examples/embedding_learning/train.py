#!/usr/bin/env python3
"""Train an image embedding with the margin loss and distance weighted sampling (Wu et al. 2017)."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))  # the repository: runs without an install

from common import cli, resume

DATASETS = ("cub200", "cars196", "sop", "cifar10", "cifar100", "omniglot", "emoji", "glyphs", "folder")
FLAGS = {
    "data": [
        *cli.data("cub200", DATASETS),
        ("--protocol", cli.choice("unseen", "seen"), None, "kind of test; default is unseen, seen of 2 or 3 classes"),
        ("--unseen", cli.many(cli.CLASS), None, "test classes (omniglot: alphabets); default by data set"),
        ("--validation-share", cli.unit_float, None, "held out, picks the best epoch; default is 0.1; 0: test does"),
        cli.IMAGE_SIZE,
        cli.RESIZE,
        cli.KEEP_ASPECT,
        ("--keep-whole", cli.switch, False, "cub200: do not cut pictures to the bounding box"),
        ("--no-mirror", cli.switch, False, "never mirror in training (always so for characters)"),
        ("--rotation", cli.degrees, 0.0, "pictures are turned by up to so many degrees in training"),
    ],
    "network": [
        *cli.network("resnet50_v2"),
        cli.USE_PRETRAINED,
        ("--embed-dim", cli.width, 128, "numbers in an embedding"),
        ("--backbone-lr", cli.non_negative_float, 0.01, "factor of --lr for pretrained convolutions; 0 freezes all"),
        cli.FREEZE_BATCH_NORM,
    ],
    "loss": [
        ("--batch-size", cli.batch_size, None, "images per device in a batch; default is 70, fewer for fewer pictures"),
        ("--batch-k", cli.batch_size, None, "images per class in a batch; default is 5, more of few classes"),
        ("--margin", cli.positive_float, 0.2, "margin of the loss"),
        ("--beta", cli.positive_float, 1.2, "initial boundary beta, a distance"),
        ("--lr-beta", cli.rate_or_0, 0.1, "learning rate of beta, by SGD with momentum 0.9; 0 fixes it"),
        ("--nu", cli.non_negative_float, 0.0, "regularisation of beta"),
    ],
    "optimisation": [
        ("--epochs", cli.positive_int, 20, "number of epochs"),
        ("--epoch-batches", cli.whole(1, 10**6), 200, "batches that make an epoch"),
        ("--optimizer", cli.one_of(cli.OPTIMIZERS), "adam", "optimizer of the network: adam, sgd, ..."),
        ("--lr", cli.rate, 1e-4, "learning rate"),
        ("--steps", cli.float_list, [12, 14, 16, 18], "epochs at which the learning rates change by --factor"),
        ("--factor", cli.positive_float, 0.5, "the learning rates are multiplied by it at each of --steps"),
        ("--wd", cli.non_negative_float, 1e-4, "weight decay"),
        ("--patience", cli.non_negative_int, 0, "stop after so many epochs without a better recall@1; 0 never does"),
    ],
    "run": [
        *cli.run("embedding_learning"),
        ("--save-model-prefix", cli.stem, "margin_loss_model", "the best model is NAME.params in the run folder"),
        cli.log_interval(20),
        cli.SAVE_INTERVAL,
        ("--keep-all", cli.switch, False, "keep every epoch's checkpoint"),
        cli.NO_PLOTS,
    ],
    "devices": cli.DEVICES,
}


def parse_args(argv=None):
    return resume.parse_args(cli.parser(__doc__, FLAGS), argv, "embedding_learning")


def main(args):
    import functools

    import mxnet as mx  # takes 2.6 s: after the flags were read
    from mxnet import autograd

    from common import backbones, devices
    from common.data import walk
    from common.data.loader import Loader
    from common.data.samplers import ClassBalanced
    from common.files.errors import UserError
    from common.run import Run
    from common.train import checkpoint, optimizer, schedule, trainer
    from common.train.losses import MarginLoss
    from common.train.miners import DistanceWeightedMiner
    from examples.embedding_learning import data, evaluation, model

    # Devices and workers.
    contexts = devices.contexts(args.gpus, args.num_cpus)
    kvstore = devices.kvstore(args.kvstore)

    # Data: pictures to train on, to choose the best epoch on, and to test on.
    loaded = data.load(args)
    pictures = {"train": loaded.train, "validation": loaded.validation, "test": loaded.test}
    pictures = {name: part for name, part in pictures.items() if part is not None}
    gallery = "train" if args.protocol == "seen" else None  # where to search; None: the asked part itself
    classes = len(loaded.train.class_names)

    # Network: backbone, one dense layer to the embedding, unit length.
    weights = args.params or ("imagenet" if args.use_pretrained else None)
    size = args.image_size or backbones.input_size(args.model)
    frozen = args.backbone_lr == 0
    if not weights and (frozen or args.freeze_batch_norm):
        flag = "--backbone-lr 0" if frozen else "--freeze-batch-norm"
        raise UserError(f"{flag} keeps what was learned before, and nothing was: add --use-pretrained or --params")
    mx.random.seed(args.seed)
    net = model.create(args.model, args.embed_dim, weights, contexts, size)
    backbone = net.backbone
    if args.freeze_batch_norm:
        backbone.freeze_batch_norm()
    if weights:  # pretrained convolutions move slowly
        for name, parameter in backbone.collect_params().items():
            if frozen:
                parameter.grad_req = "null"
            elif "conv" in name:
                parameter.lr_mult = args.backbone_lr
    net.hybridize(static_alloc=True, static_shape=True)

    # Batches of batch_size / batch_k classes with batch_k images each.
    sampler = ClassBalanced(
        loaded.train.labels,
        args.batch_size,
        args.batch_k,
        args.epoch_batches,
        args.seed,
        devices=len(contexts),
        rank=kvstore.rank,
        num_workers=kvstore.num_workers,
    )

    data_is = {"classes": classes, **{f"{name} pictures": len(part) for name, part in pictures.items()}}
    run = Run.start(args, "embedding_learning", kvstore.rank, {**data_is, "workers": kvstore.num_workers})
    run.log(
        f"{args.dataset}: {len(loaded.train)} pictures of {classes} classes to train on,"
        f" {len(loaded.test)} of {len(loaded.test.class_names)} to test; {args.model} ({backbone.source}) at {size} px"
    )
    walk.write(loaded.train.skipped, run.folder / "skipped.txt")
    for note in loaded.notes:
        run.log(note)
    still = data.eval_transform(args, size)
    if frozen:  # the features never change: read them once
        sets = {
            name: data.read(backbone, part, still, contexts[0], args.num_workers) for name, part in pictures.items()
        }
        batches, embed = functools.partial(sets["train"].batches, sampler), net.embed
    else:
        sets, embed = pictures, net
        transform = data.train_transform(args, size)
        batches = Loader(loaded.train, transform, sampler, args.num_workers, args.seed, kvstore.rank).epoch

    # Loss: which negatives an anchor sees, and how far they should be.
    miner = DistanceWeightedMiner(args.embed_dim, args.batch_k)
    loss = MarginLoss(args.margin, args.nu, classes, args.beta, learn_beta=args.lr_beta > 0)
    loss.initialize(ctx=contexts)
    miner.hybridize(static_alloc=True, static_shape=True)
    loss.hybridize(static_alloc=True, static_shape=True)

    # Two groups of parameters: the network's, and the boundaries.
    options = {"learning_rate": args.lr, "wd": args.wd}
    options.update({"adam": {"epsilon": 1e-7}, "sgd": {"momentum": 0.9}}.get(args.optimizer, {}))
    groups = [
        (net.collect_params(), args.optimizer, options),
        (loss.collect_params(), "sgd", {"learning_rate": args.lr_beta, "momentum": 0.9}),
    ]
    updater = optimizer.trainer(groups, kvstore)

    def step(batch):
        images, labels = devices.split(batch.images, contexts), devices.split(batch.labels, contexts)
        losses = []
        with autograd.record():
            for x, y in zip(images, labels):
                embeddings = embed(x)
                with autograd.pause():
                    pairs = miner(embeddings, y)
                losses.append(loss(embeddings, y, *pairs))
        autograd.backward(losses)
        updater.step(len(batch.labels) * kvstore.num_workers)
        return {"loss": losses}

    in_order = {name: data.in_order(part, still, args.num_workers) for name, part in sets.items()}

    def embeddings(name):
        return data.embed(embed, in_order[name](), contexts[0])

    def figures(name, rows=embeddings):
        searched = (rows(gallery), sets[gallery].labels) if gallery else ()
        return evaluation.figures(rows(name), sets[name].labels, *searched)

    def pixels(name):
        return data.pixels(pictures[name], size, pictures.get(gallery))

    def features(name):
        part = pictures[name]
        return (sets[name] if frozen else data.read(backbone, part, still, contexts[0], args.num_workers)).features

    rows = {"raw pixels": figures("test", pixels)}
    if weights:
        rows["backbone features"] = figures("test", features)
    rows["before training"] = figures("test")

    # The best epoch is chosen on what was held out of training, or else on the test pictures.
    asked, prefix = ("validation", "validation_") if "validation" in sets else ("test", "")

    def save_best(figures):
        if kvstore.rank == 0:
            model.save(
                net,
                run.folder / f"{args.save_model_prefix}.params",
                dataset=args.dataset,
                crop=size,
                resize=still.resize,
                keep_aspect=args.keep_aspect,
                classes=classes,
                figures=figures,
            )

    best = trainer.fit(
        run,
        epochs=args.epochs,
        batches=batches,
        batches_per_epoch=args.epoch_batches,
        step=step,
        blocks={"net": net, "loss": loss},
        trainers={"trainer": updater},
        start_epoch=lambda epoch: updater.optimizer.scale_rates(schedule.step_factor(epoch, args.steps, args.factor)),
        evaluate=lambda epoch: {prefix + name: value for name, value in figures(asked).items()},
        on_best=save_best,
        monitor=prefix + "recall@1",
        patience=args.patience,
        log_interval=args.log_interval,
        checkpoint_batches=args.save_interval,
        keep_all=args.keep_all,
        seed=args.seed,
        rank=kvstore.rank,
    )
    if kvstore.rank == 0:
        checkpoint.fill(net, run.folder / f"{args.save_model_prefix}.params")
        rows["trained"] = {**figures("test"), "epoch": best["epoch"]} if prefix else best
        tested = evaluation.Tested(
            loaded.test, embeddings("test"), pictures.get(gallery), embeddings(gallery) if gallery else None
        )
        evaluation.finish(
            run, rows, best if prefix else {}, tested, loaded.notes, draw=not args.no_plots, seed=args.seed
        )


if __name__ == "__main__":
    cli.launch(main, parse_args)
