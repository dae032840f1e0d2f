#!/usr/bin/env python3
"""Train image-sentence ranking: sentences and pictures in one space (Kiros et al. 2014, Faghri et al. 2018)."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))  # the repository: runs without an install

from common import cli, resume
from examples.vse import flags

PRESETS = {  # the settings of the document's three tables
    "f8k": {"dataset": "f8k", "lrate": 0.001, "batch_size": 128, "validFreq": 100, "dim": 1000, "dim_word": 1000},
    "f30k": {"dataset": "f30k", "lrate": 0.01, "batch_size": 200, "validFreq": 100, "dim": 1000, "dim_word": 1000},
    "coco": {"dataset": "coco", "lrate": 0.01, "batch_size": 300, "validFreq": 100, "dim": 1000, "dim_word": 1000},
}
FLAGS = {
    "data": [
        flags.dataset("f8k"),
        *flags.FILES,
        cli.DATA_PATH,
        flags.PROTOCOL,
        *cli.READING,
        ("--maxlen_w --maxlen-w", cli.whole(1, 10_000), 150, "longer sentences (in words) are left out"),
        ("--image-size", cli.pixels, None, "side of pictures; default is the network's; 128 for emoji, 64 for glyphs"),
        cli.VIEWS,
    ],
    "network": [
        ("--model", cli.NAME, None, "reads pictures; default is vgg19, efficientnet_lite0 for emoji, glyphs, grocery"),
        cli.PARAMS,
        cli.INT8,
        ("--dim", cli.width, 1024, "numbers in an embedding, and in the recurrent state"),
        ("--dim_word --dim-word", cli.width, None, "numbers in a word's vector; default is 300"),
        ("--dim_image --dim-image", cli.whole(1, 10**6), None, "numbers of an image; default is what features have"),
        ("--encoder", cli.choice("lstm", "gru", "bow", "minilm"), "lstm", "reads sentences; minilm is pretrained"),
        ("--bidirectional", cli.switch, False, "read the sentence from both ends"),
        ("--no_imgnorm --no-imgnorm", cli.switch, False, "embeddings of pictures keep their length"),
        ("--use_abs --use-abs", cli.switch, False, "absolute values of embeddings; --measure order has them anyway"),
        ("--word-vectors", cli.FILE, None, "start the words from GloVe, fastText or word2vec"),
        ("--start", cli.FILE, None, "go on from a model that was saved, with its words and sizes"),
    ],
    "loss": [
        ("--loss", cli.choice("sum", "max", "clip"), "sum", "all negatives, the hardest (VSE++), or CLIP's softmax"),
        ("--margin", cli.unit_float, 0.2, "margin of the ranking loss"),
        ("--measure", cli.choice("cosine", "order"), "cosine", "score of a pair"),
        ("--temperature", cli.positive_float, 0.07, "of --loss clip, at the start: it is learned"),
        ("--warmup", cli.non_negative_int, 1, "epochs of sum before max"),
        ("--allow-same-image", cli.switch, False, "several sentences of an image in a batch, as 2014"),
    ],
    "optimisation": [
        ("--preset", cli.choice(*PRESETS), None, "settings of a published table; other flags change them"),
        ("--max_epochs --max-epochs", cli.positive_int, 15, "epochs"),
        ("--batch_size --batch-size", cli.batch_size, 128, "sentences in a batch, over all devices"),
        ("--lrate", cli.rate, 2e-4, "learning rate of Adam"),
        ("--lr_update --lr-update", cli.positive_int, None, "epochs after which --lrate is divided by ten, each time"),
        ("--grad_clip --grad-clip", cli.non_negative_float, 2.0, "largest norm of all gradients together; 0: any"),
        ("--finetune", cli.switch, False, "train the backbone too, its batch norms as they are"),
        ("--backbone-lr", cli.positive_float, 0.1, "factor of --lrate for --finetune"),
        ("--finetune-text", cli.switch, False, "train --encoder minilm too"),
        ("--text-lr", cli.rate, 2e-5, "learning rate of --finetune-text"),
        ("--early_stop --early-stop", cli.non_negative_int, 20, "evaluations without a better one that end it; 0: no"),
    ],
    "run": [
        *cli.run("vse"),
        ("--saveto", cli.FILE, None, "file of the best model; default is model.params of the run"),
        ("--dispFreq", cli.positive_int, 10, "updates between log lines"),
        ("--validFreq", cli.positive_int, 100, "updates between evaluations on dev"),
        flags.TIES,
        cli.NO_PLOTS,
    ],
    "devices": cli.DEVICES,
}


def parse_args(argv=None):
    p = cli.parser(__doc__, FLAGS)
    first, _ = p.parse_known_args(argv)
    if first.preset:
        p.set_defaults(**PRESETS[first.preset])
    if first.encoder == "minilm":
        p.set_defaults(dim_word=None)
    args = resume.parse_args(p, argv, "vse")
    if args.encoder != "minilm":
        args.dim_word = args.dim_word or 300
    elif args.dim_word or args.bidirectional or args.word_vectors:
        p.error("--encoder minilm reads whole sentences: leave out --dim_word, --bidirectional and --word-vectors")
    if args.finetune_text and args.encoder != "minilm":
        p.error(f"--finetune-text trains --encoder minilm, and {args.encoder} is trained anyway: leave it out")
    if args.finetune and args.int8:
        p.error("--int8 is for features that are only read: leave it out with --finetune")
    if args.amp and not args.finetune:
        p.error("--amp is for the backbone, which only --finetune trains: leave it out")
    if args.kvstore == "dist_async":
        p.error("--kvstore dist_async has no joint gradient to clip: use dist_sync")
    return args


def main(args):
    import mxnet as mx  # takes 2.6 s: after the flags were read
    from mxnet import autograd

    from common import devices
    from common.train import mixed, optimizer, workers
    from common.train.session import Session
    from examples.vse import data, evaluation, linear, model, pictures, prepare
    from examples.vse.losses import RankingLoss, SoftmaxLoss

    contexts = devices.contexts(args.gpus, args.num_cpus, args.amp)
    kvstore = devices.kvstore(args.kvstore, args.gradient_compression, args.amp)

    # Data: sentences, and features of their pictures, or with --finetune the pictures themselves.
    metadata = prepare.metadata(args)
    splits = prepare.splits(args, metadata, contexts[0])
    train = splits["train"]

    # Network: a linear layer on the features, a recurrent network on the words (or another layer on MiniLM's vectors).
    mx.random.seed(args.seed)
    net = prepare.network(args, metadata, train, contexts)
    net.hybridize(static_alloc=True)

    # Loss: all negatives of the batch, or (after some epochs of these) the hardest of each picture and sentence; or the
    # softmax over the batch, whose temperature is learned.
    losses = {kind: RankingLoss(args.margin, kind == "max", args.measure) for kind in ("sum", "max")}
    losses["clip"] = SoftmaxLoss(args.temperature, args.measure)
    losses["clip"].initialize(ctx=contexts)
    for loss in losses.values():
        loss.hybridize(static_alloc=True)
    blocks = {"net": net, "loss": losses["clip"]} if args.loss == "clip" else {"net": net}

    # Batches of pairs (of sentences of nearly one length, but for MiniLM's vectors), in rounds between evaluations.
    sentences = prepare.sentences(net, splits)
    sampler = data.PairSampler(
        train, sentences.lengths, args.batch_size, args.max_epochs, args.seed, round_batches=args.validFreq,
        max_words=args.maxlen_w, by_length=net.encoder is None, same_image=args.allow_same_image, rank=kvstore.rank,
        num_workers=kvstore.num_workers, devices=len(contexts),
    )  # fmt: skip
    read = None
    if args.finetune:
        read = pictures.loader(train.pictures, net.metadata, sampler, args.num_workers, args.seed, kvstore.rank)
    loader = data.PairLoader(train, sentences, sampler, read)

    # Adam for all parameters, the gradients of each device clipped together.
    parameters = [p for block in blocks.values() for p in block.collect_params().values() if p.grad_req != "null"]
    trainer = optimizer.trainer([(parameters, "adam", {"learning_rate": args.lrate})], kvstore)
    gradients = [[p.grad(ctx) for p in parameters] for ctx in contexts]

    # Evaluation: recall@k both ways; the best round is chosen on dev.
    run = prepare.run(args, splits, net, sampler, kvstore)
    run.stage("baselines")
    shared = workers.SharedEvaluation(kvstore, net)
    dev, test = (evaluation.EvaluationSet(splits[name], args.num_workers, contexts[0]) for name in ("dev", "test"))
    rows = {"chance": evaluation.chance(splits["test"]), "before training": test.metrics(net)}
    best_file = pathlib.Path(args.saveto or run.folder / "model.params")

    def save(metrics):
        if kvstore.rank == 0:
            model.save(net, best_file, metrics=metrics)

    run.stage("training")
    mixed.start(args.amp, trainer, net, net.backbone)
    session = Session(
        run, blocks=blocks, trainers={"trainer": trainer}, best="rsum", patience=args.early_stop,
        log_interval=args.dispFreq, seed=args.seed, rank=kvstore.rank, unit="round", rate="lrate",
    )  # fmt: skip
    for round_ in session.epochs(sampler.rounds):
        for batch in session.batches(loader, round_):
            if args.lr_update:
                trainer.optimizer.scale_rates(0.1 ** (batch.epoch // args.lr_update))
            loss = losses["sum" if args.loss == "max" and batch.epoch < args.warmup else args.loss]
            values = []
            with autograd.record():
                for ctx, (images, words) in zip(contexts, batch.split(len(contexts))):
                    values.append(loss(*net(devices.put(images, ctx), words)))
            net.backward(values, trainer)
            trainer.allreduce_grads()
            if args.grad_clip:
                for of_device in gradients:
                    model.clip_global_norm(of_device, args.grad_clip * trainer.scale)
            trainer.update(1)
            session.add(loss=[value * (len(contexts) / len(batch.images)) for value in values])
        learned = {"temperature": losses["clip"].temperature} if args.loss == "clip" else {}
        session.close_epoch({**dev.metrics(net, shared), **learned}, save=save)

    if kvstore.rank == 0:
        run.stage("evaluation")
        run.log("dev:  " + evaluation.line(session.metrics))
        rows.update(linear.row(splits))
        evaluation.finish(run, rows, model.load(best_file, contexts[0]), test, draw=not args.no_plots)


if __name__ == "__main__":
    cli.launch(main, parse_args)
