#!/usr/bin/env python3
"""Train image-sentence ranking: sentences and pictures in one space (Kiros et al. 2014, Faghri et al. 2018)."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))  # the repository: runs without an install

from common import cli

DATA = ("f8k", "f30k", "coco", "emoji", "glyphs")
PRESETS = {  # the settings of the document's three tables
    "f8k": {"data": "f8k", "lrate": 0.001, "batch_size": 128, "validFreq": 100, "dim": 1000, "dim_word": 1000},
    "f30k": {"data": "f30k", "lrate": 0.01, "batch_size": 200, "validFreq": 100, "dim": 1000, "dim_word": 1000},
    "coco": {"data": "coco", "lrate": 0.01, "batch_size": 300, "validFreq": 100, "dim": 1000, "dim_word": 1000},
}


def parse_args(argv=None):
    p = cli.parser(__doc__)
    cli.add_shared(
        p, "vse", dataset="f8k", datasets=DATA, model="vgg19", seed=123, skip=("--dataset", "--gpus", "--num-cpus")
    )

    def add(name, kind, default, text):
        flags = [f"--{name}"] + ([f"--{name.replace('_', '-')}"] if "_" in name else [])
        p.add_argument(*flags, dest=name, type=kind, default=default, metavar="X", help=text)

    p.add_argument("--data", "--dataset", dest="dataset", default="f8k", metavar="NAME", help=f"one of {DATA}")
    p.add_argument("--preset", choices=PRESETS, help="settings of a published table; other flags change them")
    p.add_argument("--captions", metavar="FILE", help="Flickr8k's token file, its split lists beside it")
    p.add_argument("--images", metavar="DIR", help="pictures of --captions; read once by --model")
    add("margin", cli.unit_float, 0.2, "margin of the ranking loss")
    add("max_epochs", cli.positive_int, 15, "epochs")
    add("batch_size", cli.positive_int, 128, "sentences in a batch")
    add("dim", cli.positive_int, 1024, "numbers in an embedding, and in the recurrent state")
    add("dim_word", cli.positive_int, 300, "numbers in a word's vector")
    add("dim_image", cli.positive_int, 4096, "numbers in an image's features; checked against the data")
    add("maxlen_w", cli.positive_int, 150, "longer sentences are left out")
    add("dispFreq", cli.positive_int, 10, "updates between log lines")
    add("validFreq", cli.positive_int, 100, "updates between evaluations on dev")
    add("grad_clip", cli.non_negative_float, 2.0, "largest norm of all gradients together; 0 does not clip")
    add("lrate", cli.positive_float, 2e-4, "learning rate of Adam")
    add("early_stop", cli.non_negative_int, 20, "evaluations without improvement that end the training; 0: never")
    p.add_argument("--saveto", metavar="FILE", help="file of the best model; default is model.params of the run")
    p.add_argument("--encoder", choices=["lstm", "gru", "bow"], default="lstm", help="what reads the sentence")
    p.add_argument("--bidirectional", action="store_true", help="read the sentence from both ends")
    p.add_argument("--word-vectors", metavar="FILE", help="start the words from GloVe, fastText or word2vec")
    p.add_argument("--loss", choices=["sum", "max"], default="sum", help="all negatives, or the hardest (VSE++)")
    p.add_argument("--warmup", type=cli.non_negative_int, default=1, metavar="N", help="epochs of sum before max")
    p.add_argument("--measure", choices=["cosine", "order"], default="cosine", help="score of a pair")
    p.add_argument("--allow-same-image", action="store_true", help="several sentences of an image in a batch, as 2014")
    first, _ = p.parse_known_args(argv)
    if first.preset:
        settings = dict(PRESETS[first.preset])
        p.set_defaults(dataset=settings.pop("data"), **settings)
    args = p.parse_args(argv)
    if args.dataset not in DATA and not (args.data_path or args.captions):
        p.error(f"--data {args.dataset}: one of {', '.join(DATA)}, or give --data-path")
    return args


def main(args):
    import mxnet as mx  # takes 2.6 s: after the flags were read
    from mxnet import autograd

    from common import optimizer, trainer
    from common.run import Run
    from common.text import Vocabulary
    from examples.vse import data, evaluation, model, pictures

    # Data: features of the pictures, their sentences, the words of the training sentences.
    parts = data.load(
        args.dataset, args.data_path, pictures.reader(args), args.seed, captions=args.captions, images=args.images
    )
    train, dev, test = parts["train"], parts["dev"], parts["test"]
    vocabulary = Vocabulary.build(train.tokens)
    batches = data.Batches(
        train, vocabulary, args.batch_size, args.max_epochs, args.seed, args.maxlen_w, args.allow_same_image
    )

    # Network: a linear layer on the features, a recurrent network on the words.
    about = {name: getattr(args, name) for name in ("dim", "dim_word", "encoder", "bidirectional", "measure")}
    reads = {"dataset": args.dataset, "model": args.model}
    net = model.VSE({**about, "dim_image": train.features.shape[1], **reads}, vocabulary)
    mx.random.seed(args.seed)
    net.initialize()
    if args.word_vectors:
        evaluation.start_words(net, args.word_vectors)
    net.hybridize(static_alloc=True)
    losses = {kind: model.RankingLoss(args.margin, kind == "max", args.measure) for kind in ("sum", "max")}
    for loss in losses.values():
        loss.hybridize(static_alloc=True)

    parameters = net.collect_params()
    updater = optimizer.trainer([(parameters, "adam", {"learning_rate": args.lrate})], args.kvstore)
    gradients = [p.grad() for p in parameters.values()]

    def step(batch):
        kind = "max" if args.loss == "max" and batch.epoch >= args.warmup else "sum"
        with autograd.record():
            loss = losses[kind](*net(mx.nd.array(batch.features), mx.nd.array(batch.words)))
        loss.backward()
        if args.grad_clip:
            model.clip_global_norm(gradients, args.grad_clip)
        updater.step(1)
        return {"loss": loss / batch.words.shape[1]}

    run = Run.start(args, "vse")
    run.log(f"{args.dataset}: {len(train.texts)} sentences, {len(train.features)} pictures, {len(vocabulary)} words")
    saveto = args.saveto or run.folder / "model.params"
    best = trainer.fit(
        run,
        epochs=-(-len(batches) // args.validFreq),  # the loop's epochs are the stretches between evaluations
        batches=lambda round_, first: batches.read(round_ * args.validFreq + first, (round_ + 1) * args.validFreq),
        batches_per_epoch=args.validFreq,
        step=step,
        blocks={"net": net},
        trainers={"trainer": updater},
        evaluate=lambda _: evaluation.figures(net, dev),
        on_best=lambda figures: model.save(net, saveto),
        monitor="rsum",
        patience=args.early_stop,
        log_interval=args.dispFreq,
        seed=args.seed,
    )
    figures = evaluation.figures(model.load(saveto), test)
    run.log("dev:  " + evaluation.line(best))
    run.log("test: " + evaluation.line(figures))
    run.finish(figures)


if __name__ == "__main__":
    cli.launch(main, parse_args)
