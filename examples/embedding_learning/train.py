#!/usr/bin/env python3
"""Train an image embedding: the margin loss with distance weighted sampling (Wu et al. 2017), or another loss."""

import functools
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))  # the repository: runs without an install

from common import cli, resume
from examples.embedding_learning import objective

DATASETS = (
    "cub200", "cars196", "sop", "cifar10", "cifar100", "omniglot", "emoji", "glyphs", "grocery",
    "folder", "csv",
)  # fmt: skip
FLAGS = {
    "data": [
        *cli.data("cub200", DATASETS),
        ("--protocol", cli.choice("unseen", "seen"), None, "kind of test; default is unseen, seen of 2 or 3 classes"),
        ("--unseen", cli.many(cli.CLASS), None, "test classes (omniglot: alphabets); default by data set"),
        ("--with-catalogue", cli.switch, False, "grocery: learn from the products' catalogue pictures too"),
        ("--validation-share", cli.unit_float, None, "held out, picks the best epoch; default is 0.1; 0: test does"),
        cli.IMAGE_SIZE,
        cli.RESIZE,
        cli.KEEP_ASPECT,
        cli.VIEWS,
        ("--keep-whole", cli.switch, False, "cub200: do not cut pictures to the bounding box"),
        ("--no-mirror", cli.switch, False, "never mirror in training (always so for characters)"),
        ("--rotation", cli.degrees, 0.0, "pictures are turned by up to so many degrees in training"),
    ],
    "network": [
        *cli.network("resnet50_v2"),
        cli.USE_PRETRAINED,
        ("--embed-dim", cli.width, 128, "numbers in an embedding"),
        ("--head", cli.choice("margin", "lda", "wccn"), "margin", "margin: trained, by --loss; lda or wccn: fitted"),
        ("--backbone-lr", cli.non_negative_float, 0.01, "factor of --lr for pretrained convolutions; 0 freezes all"),
        cli.FREEZE_BATCH_NORM,
    ],
    "loss": [
        ("--batch-size", cli.batch_size, None, "images per device in a batch; default is 70, fewer for fewer pictures"),
        ("--batch-k", cli.batch_size, None, "images per class in a batch; default is 5, more of few classes"),
        ("--sampler", cli.choice("balanced", "groups", "near"), "balanced", "classes of a batch: any, or those alike"),
        ("--loss", cli.choice(*objective.LOSSES, metavar="NAME"), "margin", "what is learned: %(choices)s"),
        ("--loss-options", cli.many(cli.Kind(metavar="NAME=VALUE")), [], "of other losses than margin: margin=0.5 ..."),
        ("--miner", cli.choice(*objective.MINERS, metavar="NAME"), None, "pairs it sees: %(choices)s; default by loss"),
        ("--memory", cli.whole(0, 10**6), 0, "embeddings of earlier batches, of each device, to compare with too"),
        ("--gather", cli.switch, False, "pairs across devices and workers: their embeddings are one batch"),
        ("--matryoshka", cli.int_list, [], "learn so that these first numbers serve alone too: 16,32,64,128"),
        ("--lr-classes", cli.rate, 0.01, "learning rate of class weights, proxies and centres, by --optimizer"),
        ("--class-start", cli.choice("means", "random"), "means", "those vectors start where classes lie, or random"),
        ("--margin", cli.positive_float, 0.2, "margin of the margin loss"),
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
        ("--signs", cli.switch, False, "report what the signs of the numbers find too: search.py --kind binary"),
        ("--whiten", cli.int_list, [], "so many numbers, PCA whitened, too: 16,32,64; writes that model"),
        ("--rerank", cli.switch, False, "report re-ranking by neighbours of neighbours too"),
        ("--save-embeddings", cli.switch, False, "keep test embeddings and each query's neighbours, in embeddings/"),
    ],
    "devices": cli.DEVICES,
}


def parse_args(argv=None):
    args = resume.parse_args(cli.parser(__doc__, FLAGS), argv, "embedding_learning")
    if not args.resume:
        flags = [*FLAGS["loss"], *FLAGS["optimisation"]]
        objective.check(args, {flag[2:].replace("-", "_"): default for flag, _, default, _ in flags})
    return args


def main(args):
    import mxnet as mx  # takes 2.6 s: after the flags were read
    from mxnet import autograd

    from common import backbones, devices
    from common.export import engine
    from common.run import Run
    from common.train import checkpoint, mixed, optimizer, schedule
    from common.train.session import Session
    from examples.embedding_learning import afterwards, data, evaluation, inputs, linear, model, neighbours

    loss_options = objective.options(args)
    # Devices and workers.
    contexts = devices.contexts(args.gpus, args.num_cpus, args.amp)
    kvstore = devices.kvstore(args.kvstore, args.gradient_compression, args.amp)

    # Data: pictures to train on, to choose the best epoch on, and to test on.
    parts = data.load(args)

    # Network: backbone, one dense layer to the embedding, unit length. Pretrained convolutions move slowly.
    size = args.image_size or backbones.input_size(args.model)
    weights = model.weights(args)
    mx.random.seed(args.seed)
    net = model.create(args.model, args.embed_dim, weights, contexts, size)
    model.hold_back(net.backbone, weights, args.backbone_lr, args.freeze_batch_norm)
    net.hybridize(static_alloc=True, static_shape=True)
    net.backbone.speed_up_training()

    # Batches of batch_size / batch_k classes with batch_k images each.
    sampler = data.sampler(args, parts, weights, len(contexts), kvstore)
    # Loss: which pairs it sees, and how far apart they should be.
    loss, miner, memory = objective.create(args, loss_options, len(parts.train.class_names), contexts)
    gather = objective.gather(args, contexts, kvstore)

    args.engine = engine.choose(args, net.backbone, size, len(parts) if weights else 0)  # of what stays as it is
    counts = {**parts.counts(), "workers": kvstore.num_workers}
    run = Run.start(args, "embedding_learning", kvstore.rank, counts, stages=inputs.stages(args))
    data.log(run, parts, f"{args.model} ({net.backbone.source}) at {size} px")
    read = inputs.Inputs(net, parts, sampler, args, size, contexts[0], kvstore, run.stage)
    if args.sampler == "near":
        sampler.means = read.class_means()

    objective.place_classes(args, loss, read, contexts[0])

    # Two groups of parameters: the network's, and what the loss learns: boundaries beta, or vectors of the classes.
    trainer = optimizer.trainer(objective.groups(args, net, loss), kvstore)

    # Evaluation: recall@k and MAP@R, of raw pixels and of the untrained network first.
    evaluator = evaluation.Evaluator(read, args.protocol, args.signs, args.matryoshka[:-1])
    run.stage("baselines")
    rows = evaluator.baselines(bool(weights), args.embed_dim, run.log)
    best_file = run.folder / f"{args.save_model_prefix}.params"

    def save(metrics):
        if kvstore.rank == 0:
            model.save(net, best_file, objective.class_vectors(args, loss), **read.metadata(), metrics=metrics)

    def finish(best):
        if kvstore.rank == 0:
            read.shared.end()
            outputs = functools.cache(read.outputs)  # the network stays as it is: each picture is read once
            rows.update(afterwards.rows(args, net, outputs, read.metadata(), evaluator, best_file, run.log))
            tested = evaluator.finish(run, outputs, rows, best, parts.notes)
            if args.save_embeddings:
                neighbours.write(run.folder / "embeddings", tested, run.log)

    if args.head != "margin":  # in closed form: there is nothing to train
        run.stage("fitting the head")
        metrics = linear.fit_head(args.head, net, read, evaluator, run.log)
        save(metrics)
        return finish({**metrics, "epoch": 0})

    run.stage("training")
    mixed.start(args.amp, trainer, net, net.backbone)
    blocks = {"net": net, "loss": loss, **({"memory": memory} if memory else {})}
    session = Session(
        run, blocks=blocks, trainers={"trainer": trainer}, best=evaluator.best,
        patience=args.patience, log_interval=args.log_interval, checkpoint_batches=args.save_interval,
        keep_all=args.keep_all, seed=args.seed, rank=0 if gather else kvstore.rank,  # all draw the same pairs then
    )  # fmt: skip
    for epoch in session.epochs(args.epochs):
        trainer.optimizer.scale_rates(schedule.step_factor(epoch, args.steps, args.factor))
        for batch in session.batches(read.loader, epoch):
            losses = []
            with autograd.record():
                images, labels = (devices.split(part, contexts) for part in (batch.images, batch.labels))
                embedded = [(read.embed(x), y) for x, y in zip(images, labels)]
                for embeddings, y in gather(embedded) if gather else embedded:
                    with autograd.pause():
                        among = memory(embeddings, y) if memory else ()
                        pairs = miner(embeddings, y, *among) if miner else None
                    losses.append(loss(embeddings, y, pairs, *among))
            trainer.backward(losses)
            if gather:
                gather.backward(loss)
            trainer.step(len(batch.labels) * kvstore.num_workers)
            session.add(loss=losses)
        session.close_epoch(evaluator.choose(), save=save)

    # The test pictures, by the parameters of the best epoch.
    if kvstore.rank == 0:
        checkpoint.fill(net, best_file)
    finish(session.metrics)


if __name__ == "__main__":
    cli.launch(main, parse_args)
