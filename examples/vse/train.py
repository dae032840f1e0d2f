#!/usr/bin/env python3
"""Train image-sentence ranking: sentences and pictures in one space (Kiros et al. 2014, Faghri et al. 2018)."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))  # the repository: runs without an install

from common import cli, resume

DATA = ("f8k", "f30k", "coco", "emoji", "glyphs")
PRESETS = {  # the settings of the document's three tables
    "f8k": {"dataset": "f8k", "lrate": 0.001, "batch_size": 128, "validFreq": 100, "dim": 1000, "dim_word": 1000},
    "f30k": {"dataset": "f30k", "lrate": 0.01, "batch_size": 200, "validFreq": 100, "dim": 1000, "dim_word": 1000},
    "coco": {"dataset": "coco", "lrate": 0.01, "batch_size": 300, "validFreq": 100, "dim": 1000, "dim_word": 1000},
}


def dataset(default=None):
    """The row of the flag that names the data, with its two names."""
    text = f"data set: {', '.join(DATA)}, or the start of the file names in --data-path"
    return "--data --dataset", cli.NAME, default, text


FILES = [  # which pictures and sentences: of evaluate.py and search.py too
    ("--captions", cli.many(cli.FILE), [], "Flickr8k's token file by its split lists, or COCO's .json; see --images"),
    ("--images", cli.DIR, None, "pictures of --captions; read once by --model"),
    ("--captions-per-image", cli.positive_int, None, "of a picture in .npy features; default is what the rows tell"),
]
RANKING = cli.choice("against", "published")
TIES = ("--ties", RANKING, "against", "a wrong answer of the same score is first; published: as first programs sorted")
FLAGS = {
    "data": [
        dataset("f8k"),
        *FILES,
        cli.DATA_PATH,
        *cli.READING,
        ("--maxlen_w --maxlen-w", cli.whole(1, 10_000), 150, "longer sentences (in words) are left out"),
        ("--image-size", cli.pixels, None, "side of pictures; default is the network's; 128 for emoji, 64 for glyphs"),
    ],
    "network": [
        ("--model", cli.NAME, None, "reads pictures; default is vgg19, efficientnet_lite0 for emoji and glyphs"),
        cli.PARAMS,
        cli.INT8,
        ("--dim", cli.width, 1024, "numbers in an embedding, and in the recurrent state"),
        ("--dim_word --dim-word", cli.width, 300, "numbers in a word's vector"),
        ("--dim_image --dim-image", cli.whole(1, 10**6), None, "numbers of an image; default is what features have"),
        ("--encoder", cli.choice("lstm", "gru", "bow"), "lstm", "what reads the sentence"),
        ("--bidirectional", cli.switch, False, "read the sentence from both ends"),
        ("--word-vectors", cli.FILE, None, "start the words from GloVe, fastText or word2vec"),
        ("--start", cli.FILE, None, "go on from a model that was saved, with its words and sizes"),
    ],
    "loss": [
        ("--loss", cli.choice("sum", "max"), "sum", "all negatives, or the hardest (VSE++)"),
        ("--margin", cli.unit_float, 0.2, "margin of the ranking loss"),
        ("--measure", cli.choice("cosine", "order"), "cosine", "score of a pair"),
        ("--warmup", cli.non_negative_int, 1, "epochs of sum before max"),
        ("--allow-same-image", cli.switch, False, "several sentences of an image in a batch, as 2014"),
    ],
    "optimisation": [
        ("--preset", cli.choice(*PRESETS), None, "settings of a published table; other flags change them"),
        ("--max_epochs --max-epochs", cli.positive_int, 15, "epochs"),
        ("--batch_size --batch-size", cli.batch_size, 128, "sentences in a batch, over all devices"),
        ("--lrate", cli.rate, 2e-4, "learning rate of Adam"),
        ("--grad_clip --grad-clip", cli.non_negative_float, 2.0, "largest norm of all gradients together; 0: any"),
        ("--finetune", cli.switch, False, "train the backbone too, its batch norms as they are"),
        ("--backbone-lr", cli.positive_float, 0.1, "factor of --lrate for --finetune"),
        ("--early_stop --early-stop", cli.non_negative_int, 20, "evaluations without a better one that end it; 0: no"),
    ],
    "run": [
        *cli.run("vse"),
        ("--saveto", cli.FILE, None, "file of the best model; default is model.params of the run"),
        ("--dispFreq", cli.positive_int, 10, "updates between log lines"),
        ("--validFreq", cli.positive_int, 100, "updates between evaluations on dev"),
        TIES,
        cli.NO_PLOTS,
    ],
    "devices": cli.DEVICES,
}


def parse_args(argv=None):
    p = cli.parser(__doc__, FLAGS)
    first, _ = p.parse_known_args(argv)
    if first.preset:
        p.set_defaults(**PRESETS[first.preset])
    args = resume.parse_args(p, argv, "vse")
    if args.finetune and args.int8:
        p.error("--int8 is for features that are only read: leave it out with --finetune")
    if args.kvstore == "dist_async":
        p.error("--kvstore dist_async has no joint gradient to clip: use dist_sync")
    return args


def main(args):
    import mxnet as mx  # takes 2.6 s: after the flags were read
    from mxnet import autograd

    from common import devices
    from common.data import walk
    from common.files.errors import UserError
    from common.run import Run
    from common.train import optimizer, trainer
    from examples.vse import data, evaluation, layouts, model, pictures, prepare
    from examples.vse.losses import RankingLoss

    # Devices and workers.
    contexts = devices.contexts(args.gpus, args.num_cpus)
    kvstore = devices.kvstore(args.kvstore)

    # Data: features of the pictures (read once) or the pictures themselves, their sentences, the words of these.
    about = prepare.about(args)
    read = None if args.finetune else pictures.Reader(about, num_workers=args.num_workers, ctx=contexts[0])
    parts = layouts.load(
        args.dataset, args.data_path, read, args.seed, args.captions, args.images, each=args.captions_per_image,
        on_error=args.on_error,
    )  # fmt: skip
    train, dev, test = parts["train"], parts["dev"], parts["test"]
    if args.finetune and train.pictures is None:
        raise UserError(f"--finetune needs pictures, and {args.dataset} here is features: use --captions and --images")

    # Network: a linear layer on the features, a recurrent network on the words.
    mx.random.seed(args.seed)
    net = prepare.network(args, about, train, contexts)
    net.hybridize(static_alloc=True)
    losses = {kind: RankingLoss(args.margin, kind == "max", args.measure) for kind in ("sum", "max")}
    for loss in losses.values():
        loss.hybridize(static_alloc=True)

    # Batches of pairs whose sentences are of nearly one length.
    batches = data.Batches(
        train, net.vocabulary, args.batch_size, args.max_epochs, args.seed, args.validFreq, args.maxlen_w,
        args.allow_same_image, kvstore.rank, kvstore.num_workers, len(contexts),
    )  # fmt: skip
    loader = None
    if args.finetune:
        loader = pictures.loader(train.pictures, about, batches, args.num_workers, args.seed, kvstore.rank)

    parameters = [p for p in net.collect_params().values() if p.grad_req != "null"]
    updater = optimizer.trainer([(parameters, "adam", {"learning_rate": args.lrate})], kvstore)
    gradients = [[p.grad(ctx) for p in parameters] for ctx in contexts]

    def step(batch):
        loss = losses["max" if args.loss == "max" and batch.epoch >= args.warmup else "sum"]
        values = []
        with autograd.record():
            for ctx, (images, words) in zip(contexts, batch.split(len(contexts))):
                values.append(loss(*net(devices.put(images, ctx), words)))
        net.backward(values)
        updater.allreduce_grads()
        if args.grad_clip:
            for of_device in gradients:
                model.clip_global_norm(of_device, args.grad_clip)
        updater.update(1)
        return {"loss": [value * (len(contexts) / batch.words.shape[1]) for value in values]}

    data_is = {f"{name} {what}": len(values) for name, part in parts.items()
               for what, values in (("sentences", part.texts), ("pictures", part.image_labels))}  # fmt: skip
    run = Run.start(args, "vse", kvstore.rank, {**data_is, "workers": kvstore.num_workers})
    skipped = [one for part in parts.values() if part.pictures is not None for one in part.pictures.skipped]
    walk.write(list(dict.fromkeys(skipped)), run.folder / "skipped.txt")
    for name, part in parts.items():
        run.log(f"{args.dataset}, {name}: {part.summary()}")
    if batches.batch_size < args.batch_size:
        run.log(f"--batch_size {args.batch_size} is more than there is to train on: {batches.batch_size} in a batch")
    run.log(f"{len(net.vocabulary)} words; {len(batches)} updates in {args.max_epochs} epochs")
    of_dev, of_test = (evaluation.Examined(part, about, args.num_workers, contexts[0]) for part in (dev, test))
    rows = {"chance": evaluation.chance(test), "before training": of_test.figures(net)}
    saveto = pathlib.Path(args.saveto or run.folder / "model.params")

    def save_best(figures):
        if kvstore.rank == 0:
            model.save(net, saveto, metrics=figures)

    best = trainer.fit(
        run,
        epochs=batches.rounds,  # the loop's epochs are the rounds between evaluations
        unit="round",
        batches=lambda round_, first: batches.read(round_, first, loader),
        batches_per_epoch=args.validFreq,
        step=step,
        blocks={"net": net},
        trainers={"trainer": updater},
        evaluate=lambda _: of_dev.figures(net),
        on_best=save_best,
        monitor="rsum",
        rate="lrate",
        patience=args.early_stop,
        log_interval=args.dispFreq,
        seed=args.seed,
        rank=kvstore.rank,
    )
    if kvstore.rank == 0:
        run.log("dev:  " + evaluation.line(best))
        evaluation.finish(run, rows, model.load(saveto, contexts[0]), of_test, draw=not args.no_plots)


if __name__ == "__main__":
    cli.launch(main, parse_args)
