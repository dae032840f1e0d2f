#!/usr/bin/env python3
"""Learn a vector for each class of pictures, as word2vec does for words (Mikolov et al. 2013)."""

import functools
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))  # the repository: runs without an install

from common import cli, resume

DATASETS = ("cifar10", "cifar100", "emoji", "glyphs", "grocery", "folder", "csv")
OBJECTIVE = cli.choice("negative", "softmax", "hierarchical", metavar="NAME")
FLAGS = {
    "data": [
        *cli.data("cifar100", DATASETS),
        ("--cifar10-dir", cli.DIR, None, "CIFAR-10's folder, downloaded to it when absent"),
        ("--cifar100-dir", cli.DIR, None, "CIFAR-100's folder, downloaded to it when absent"),
        ("--classes", cli.many(cli.NAME), None, "classes or coarse names, which are one class; default is all"),
        cli.BALANCE,
        cli.IMAGE_SIZE,
        cli.VIEWS,
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
        cli.TENSORBOARD,
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
    if args.amp and args.backbone_lr == 0 and (args.use_pretrained or args.params):
        p.error("--amp is for a backbone that is trained, and this one is frozen: leave it out, or give --backbone-lr")
    if args.int8 and (args.backbone_lr or not (args.use_pretrained or args.params or args.input)):
        p.error("--int8 reads a frozen backbone: it needs --use-pretrained or --params, and no --backbone-lr")
    return args


def main(args):
    import mxnet as mx  # takes 2.6 s: after the flags were read
    from mxnet import autograd

    from common import devices
    from common.backbones import training_form
    from common.data.imageset import Notes
    from common.data.samplers import Shuffled
    from common.train import mixed, optimizer, schedule, workers
    from common.train.session import Session
    from examples.im2vec import data, evaluation, prepare, result, sgd, stability

    contexts = devices.contexts(args.gpus, args.num_cpus, args.amp)
    kvstore = devices.kvstore(args.kvstore, args.gradient_compression, args.amp)

    # Data: pictures of the chosen classes, some of each held back.
    notes = Notes()
    dataset = prepare.dataset(args, notes)
    train, test = dataset.train, dataset.test

    # The network f(x) and the objective, which holds the class vectors: new, or those of --input.
    mx.random.seed(args.seed)
    model = prepare.model(args, dataset, contexts)
    net, objective, metadata = model.net, model.objective, model.metadata
    for block in (net, objective):
        block.hybridize(static_alloc=True, static_shape=True)
    training_form.speed_up_training(net.backbone)
    batch_size = data.batch_size(args.batch_size, len(train), len(contexts), kvstore.num_workers)
    is_frozen = metadata["pretrained"] and args.backbone_lr == 0
    run = prepare.run(args, dataset, model, kvstore, batch_size, notes, is_frozen)

    # Batches of pictures, or of their features, which a frozen backbone gives once for all.
    drawn = train.labels if args.balance else None
    places = None if is_frozen else train.places  # of pictures in records
    sampler = Shuffled(len(train), batch_size, args.seed, kvstore.rank, kvstore.num_workers, drawn, places)
    if is_frozen:
        run.stage("reading features")
        encode, loader, eval_loaders = data.frozen(model, train, test, sampler, args)
    else:
        encode, loader, eval_loaders = data.moving(model, train, test, sampler, args, kvstore.rank)

    # The weight decay; on frozen features one with which the vectors do not depend on the choice of pictures.
    setting = len(train.class_names), metadata["objective"], is_frozen
    decays, agreement = sgd.decays(args.weight_decay, *setting), None
    if is_frozen and kvstore.num_workers == 1:
        run.stage("choosing the weight decay")
        options = functools.partial(sgd.options, args, *setting)
        agreement = stability.choose_on_features(run, args, metadata, eval_loaders[0], decays, options)
    decay = agreement["decay"] if agreement else decays[0]

    # SGD for the network, or for its last layer alone, and for the class vectors.
    options = sgd.options(args, *setting, decay)
    learned = net.head if is_frozen else net
    if metadata["pretrained"]:
        net.backbone.collect_params().setattr("lr_mult", args.backbone_lr)
    groups = [(block.collect_params(), "sgd", own) for block, own in zip((learned, objective), options)]
    trainer = optimizer.trainer(groups, kvstore)
    mixed.start(args.amp, trainer, net, net.backbone)

    run.stage("training")
    session = Session(
        run,
        blocks={"head" if is_frozen else "net": learned, "objective": objective},
        trainers={"trainer": trainer},
        log_interval=args.log_interval,
        seed=args.seed,
        rank=kvstore.rank,
    )
    shared = workers.SharedEvaluation(kvstore, net)
    if not run.resumed:
        evaluation.keep_vectors(run, objective, 0)
    for epoch in session.epochs(args.epochs):
        trainer.optimizer.scale_rates(schedule.half_cosine(epoch, args.epochs))
        for batch in session.batches(loader, epoch):
            images, labels = devices.split(batch.images, contexts), devices.split(batch.labels, contexts)
            with autograd.record():
                losses = [objective(encode(x), y) for x, y in zip(images, labels)]
            trainer.backward(losses)
            # The mean over pictures and, as each is a step of its own in word2vec, over the terms of a picture's loss:
            # a learning rate then suits every objective and number of negatives.
            trainer.step(len(batch.labels) * kvstore.num_workers * objective.terms)
            session.add(loss=losses)
        evaluation.keep_vectors(run, objective, epoch + 1)
        scores = evaluation.scores(objective, evaluation.encode(encode, eval_loaders[1], shared))
        session.close_epoch(evaluation.accuracy(scores, test.labels))

    # The model, its vectors and their pictures.
    if kvstore.rank == 0:
        run.stage("vectors")
        vectors, test_vectors = (evaluation.encode(encode, loader) for loader in eval_loaders)
        if not is_frozen:
            agreement = stability.of_vectors(args, metadata, vectors, train.labels, options)
        metadata.update(epochs=metadata["epochs"] + args.epochs, stability=agreement)
        result.save(run, model, dataset, vectors, test_vectors, session.metrics)


if __name__ == "__main__":
    cli.launch(main, parse_args)
