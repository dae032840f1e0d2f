#!/usr/bin/env python3
"""Train an image embedding with the margin loss and distance weighted sampling (Wu et al. 2017)."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))  # the repository: runs without an install

from common import cli, resume

DATASETS = ("cub200", "cars196", "sop", "cifar10", "cifar100", "omniglot", "emoji", "glyphs", "folder")


def parse_args(argv=None):
    p = cli.parser(__doc__)
    cli.add_shared(p, "embedding_learning", dataset="cub200", datasets=DATASETS, model="resnet50_v2")
    p.add_argument("--embed-dim", type=cli.width, default=128, metavar="N", help="numbers in an embedding")
    p.add_argument(
        "--batch-size",
        type=cli.batch_size,
        metavar="N",
        help="images per device in a batch; default is 70, fewer where the data has fewer classes or pictures",
    )
    p.add_argument(
        "--batch-k",
        type=cli.batch_size,
        metavar="N",
        help="images per class in a batch; default is 5, more of few classes, no more than a class has",
    )
    p.add_argument("--epochs", type=cli.positive_int, default=20, metavar="N", help="number of epochs")
    p.add_argument(
        "--epoch-batches", type=cli.whole(1, 10**6), default=200, metavar="N", help="batches that make an epoch"
    )
    p.add_argument("--optimizer", type=cli.one_of(cli.OPTIMIZERS), default="adam", metavar="NAME",
                   help="optimizer of the network: adam, sgd, ...")
    p.add_argument("--lr", type=cli.positive_float, default=1e-4, metavar="RATE", help="learning rate")
    p.add_argument(
        "--lr-beta",
        type=cli.non_negative_float,
        default=0.1,
        metavar="RATE",
        help="learning rate of the boundaries beta, by SGD with momentum 0.9; 0 fixes them",
    )
    p.add_argument("--margin", type=cli.positive_float, default=0.2, metavar="X", help="margin of the loss")
    p.add_argument(
        "--beta", type=cli.positive_float, default=1.2, metavar="X", help="initial boundary beta, a distance"
    )
    p.add_argument("--nu", type=cli.non_negative_float, default=0.0, metavar="X", help="regularisation of beta")
    p.add_argument(
        "--factor",
        type=cli.positive_float,
        default=0.5,
        metavar="X",
        help="the learning rates are multiplied by it at each of --steps",
    )
    p.add_argument("--steps", type=cli.float_list, default=[12, 14, 16, 18], metavar="LIST", help="epochs of --factor")
    p.add_argument("--wd", type=cli.non_negative_float, default=1e-4, metavar="X", help="weight decay")
    p.add_argument("--use-pretrained", action="store_true", help="start from ImageNet parameters")
    p.add_argument(
        "--backbone-lr",
        type=cli.non_negative_float,
        default=0.01,
        metavar="X",
        help="factor of --lr for pretrained convolutions; 0 freezes the backbone and reads it once",
    )
    p.add_argument(
        "--freeze-batch-norm",
        action="store_true",
        help="keep the batch norms of a pretrained network as they are, scales and statistics",
    )
    p.add_argument(
        "--save-model-prefix",
        type=cli.stem,
        default="margin_loss_model",
        metavar="NAME",
        help="the best model is NAME.params in the run folder",
    )
    p.add_argument("--log-interval", type=cli.positive_int, default=20, metavar="N", help="batches between log lines")
    p.add_argument(
        "--protocol",
        choices=["unseen", "seen"],
        help="evaluate on classes never trained on, or on held-back pictures of the same, looked for among the"
        " training pictures; default is unseen, seen for a folder of two or three classes",
    )
    p.add_argument(
        "--unseen", nargs="+", metavar="CLASS", help="test classes (omniglot: alphabets); default by data set"
    )
    p.add_argument(
        "--validation-share",
        type=cli.unit_float,
        metavar="X",
        help="share of the training classes (seen: of each class's pictures) that choose the best epoch; default is"
        " 0.1, 0 where there are too few; 0: the test pictures choose, as the published figures have it",
    )
    p.add_argument(
        "--image-size",
        type=cli.pixels,
        metavar="PIXELS",
        help="side of what the network sees; default is the network's (224 or so; the pictures' own 32 for conv4)",
    )
    p.add_argument(
        "--resize",
        type=cli.pixels,
        metavar="PIXELS",
        help="side before the random crop; default is 8/7 of --image-size (256 for 224)",
    )
    p.add_argument("--no-mirror", action="store_true", help="never mirror in training (always so for characters)")
    p.add_argument("--rotation", type=cli.non_negative_float, default=0.0, metavar="DEGREES", help="random turn, up to")
    p.add_argument("--keep-aspect", action="store_true", help="resize the shorter side; default squeezes to a square")
    p.add_argument("--keep-whole", action="store_true", help="cub200: do not cut pictures to the bounding box")
    p.add_argument(
        "--save-interval",
        type=cli.non_negative_int,
        default=0,
        metavar="N",
        help="batches between checkpoints inside an epoch; 0: after each epoch only",
    )
    p.add_argument(
        "--patience",
        type=cli.non_negative_int,
        default=0,
        metavar="N",
        help="stop after so many epochs without a better recall@1 (see --validation-share); 0 never does",
    )
    p.add_argument("--keep-all", action="store_true", help="keep every epoch's checkpoint")
    p.add_argument("--no-plots", action="store_true", help="no pictures and no report at the end")
    return resume.parse_args(p, argv, "embedding_learning")


def main(args):
    import mxnet as mx  # takes 2.6 s: after the flags were read
    from mxnet import autograd

    from common import backbones, devices
    from common.data.samplers import ClassBalanced
    from common.run import Run
    from common.train import checkpoint, optimizer, schedule
    from common.train.losses import MarginLoss
    from common.train.miners import DistanceWeightedMiner
    from common.train.session import Session
    from examples.embedding_learning import data, evaluation, inputs, model

    # Devices and workers.
    contexts = devices.contexts(args.gpus, args.num_cpus)
    kvstore = devices.kvstore(args.kvstore)

    # Data: pictures to train on, to choose the best epoch on, and to test on.
    parts = data.load(args)
    classes = len(parts.train.class_names)

    # Network: backbone, one dense layer to the embedding, unit length. Pretrained convolutions move slowly.
    size = args.image_size or backbones.input_size(args.model)
    weights = model.weights(args)
    mx.random.seed(args.seed)
    net = model.create(args.model, args.embed_dim, weights, contexts, size)
    model.hold_back(net.backbone, weights, args.backbone_lr, args.freeze_batch_norm)
    net.hybridize(static_alloc=True, static_shape=True)

    # Batches of batch_size / batch_k classes with batch_k images each.
    sampler = ClassBalanced(
        parts.train.labels, args.batch_size, args.batch_k, args.epoch_batches, args.seed, len(contexts), kvstore.rank,
        kvstore.num_workers,
    )  # fmt: skip
    run = Run.start(args, "embedding_learning", kvstore.rank, {**parts.counts(), "workers": kvstore.num_workers})
    data.log(run, parts, f"{args.model} ({net.backbone.source}) at {size} px")
    read = inputs.Inputs(net, parts, sampler, args, size, contexts[0], kvstore.rank)

    # Loss: which negatives an anchor sees, and how far they should be.
    miner = DistanceWeightedMiner(args.embed_dim, args.batch_k)
    loss = MarginLoss(args.margin, args.nu, classes, args.beta, learn_beta=args.lr_beta > 0)
    loss.initialize(ctx=contexts)
    miner.hybridize(static_alloc=True, static_shape=True)
    loss.hybridize(static_alloc=True, static_shape=True)

    # Two groups of parameters: the network's, and the boundaries beta.
    options = {"learning_rate": args.lr, "wd": args.wd}
    options.update({"adam": {"epsilon": 1e-7}, "sgd": {"momentum": 0.9}}.get(args.optimizer, {}))
    groups = [
        (net.collect_params(), args.optimizer, options),
        (loss.collect_params(), "sgd", {"learning_rate": args.lr_beta, "momentum": 0.9}),
    ]
    trainer = optimizer.trainer(groups, kvstore)

    # Evaluation: recall@k and MAP@R, of raw pixels and of the untrained network first.
    evaluator = evaluation.Evaluator(read, args.protocol)
    rows = evaluator.baselines(pretrained=bool(weights))
    best_file = run.folder / f"{args.save_model_prefix}.params"

    def save(metrics):
        if kvstore.rank == 0:
            model.save(net, best_file, **read.metadata(), metrics=metrics)

    session = Session(
        run, blocks={"net": net, "loss": loss}, trainers={"trainer": trainer}, best=evaluator.best,
        patience=args.patience, log_interval=args.log_interval, checkpoint_batches=args.save_interval,
        keep_all=args.keep_all, seed=args.seed, rank=kvstore.rank,
    )  # fmt: skip
    for epoch in session.epochs(args.epochs):
        trainer.optimizer.scale_rates(schedule.step_factor(epoch, args.steps, args.factor))
        for batch in session.batches(read.loader, epoch):
            losses = []
            with autograd.record():
                for x, y in zip(devices.split(batch.images, contexts), devices.split(batch.labels, contexts)):
                    embeddings = read.embed(x)
                    with autograd.pause():
                        pairs = miner(embeddings, y)
                    losses.append(loss(embeddings, y, *pairs))
            autograd.backward(losses)
            trainer.step(len(batch.labels) * kvstore.num_workers)
            session.add(loss=losses)
        session.close_epoch(evaluator.choose(), save=save)

    # The test pictures, by the parameters of the best epoch.
    if kvstore.rank == 0:
        checkpoint.fill(net, best_file)
        evaluator.finish(run, rows, session.metrics, parts.notes, draw=not args.no_plots, seed=args.seed)


if __name__ == "__main__":
    cli.launch(main, parse_args)
