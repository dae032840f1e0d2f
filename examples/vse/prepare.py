"""What a program starts from: the data, the network (new, from ``--start`` or saved) and the run's folder."""

from __future__ import annotations

import os

import mxnet as mx

from common import backbones, devices
from common.data import walk
from common.files.disk import place
from common.files.errors import UserError
from common.run import Run
from common.text.vectors import WordVectors
from common.text.vocabulary import Vocabulary, tokenise
from examples.vse import evaluation, layouts, model, pictures, pretrained
from examples.vse.data import PairSampler, Sentences, Split

SIZES = ("encoder", "dim", "dim_word", "bidirectional", "measure", "use_abs", "no_imgnorm")
PHOTOGRAPHS = "vgg19"  # the default backbone of photographs
THINGS = "efficientnet_lite0"  # and of the sets of `layouts.THINGS`: a package registry ships its parameters
DRAWN = {"emoji": 128, "glyphs": 64}  # pixels at which they are read: twice those that they have


def metadata(args) -> dict:
    """What is saved with the model: the flags that it is built from, and where its data was.

    Raises
    ------
    UserError
        ``--saveto`` is in no folder that can be written to, or ``--views`` finds no pictures.
    """
    if args.saveto:
        place(args.saveto, "--saveto")
    has_pictures = layouts.has_pictures(args.dataset, args.captions)
    names = (*SIZES, "dataset", "seed", "int8", "on_error", "protocol", "finetune_text")
    kept = {name: getattr(args, name) for name in names}
    kept["use_abs"] |= args.measure == "order"
    drawn = None if args.captions else DRAWN.get(args.dataset)
    name = (args.model or (PHOTOGRAPHS if args.captions else THINGS)) if has_pictures else None
    kept.update(model=name, photographs=bool(args.captions) or args.dataset == "grocery")
    kept["captions_per_image"] = args.captions_per_image
    for path in ("data_path", "images", "params"):
        kept[path] = os.path.abspath(getattr(args, path)) if getattr(args, path) else None
    kept["captions"] = [os.path.abspath(file) for file in args.captions]
    if has_pictures:
        kept.update(image_size=args.image_size or drawn or backbones.input_size(name), views=args.views)
    elif args.views:
        raise UserError(f"--views needs pictures, and {args.dataset} here is features: use --captions and --images")
    return kept


def splits(args, metadata: dict, ctx) -> dict[str, Split]:
    """``train``, ``dev`` and ``test``, with features; with ``--finetune`` the pictures themselves.

    Raises
    ------
    UserError
        The data is not there or not as it should be, or has no pictures for ``--finetune``.
    """
    found = layouts.load(
        args.dataset, args.data_path, args.seed, args.captions, args.images, per_image=args.captions_per_image,
        on_error=args.on_error, protocol=args.protocol,
    )  # fmt: skip
    reader = pictures.Reader(metadata, num_workers=args.num_workers, ctx=ctx)
    reader.choose(args, {} if args.finetune else found)
    if not args.finetune:
        pictures.read_features(found, reader)
    elif found["train"].pictures is None:
        raise UserError(f"--finetune needs pictures, and {args.dataset} here is features: use --captions and --images")
    return found


def network(args, metadata: dict, train: Split, contexts) -> model.VSE:
    """A network to be trained: new, or from ``--start``.

    Raises
    ------
    UserError
        Flags, data and the model to start from do not fit each other.
    """
    backbone = encoder = None
    if args.finetune:
        backbone = backbones.create(metadata["model"], args.params or "imagenet", contexts, size=metadata["image_size"])
        backbone.freeze_batch_norm()
        for parameter in backbone.normalize.collect_params().values():
            parameter.grad_req = "null"
        for parameter in backbone.collect_params().values():
            parameter.lr_mult = args.backbone_lr
    width = backbone.width if backbone else train.features.shape[1]
    if args.dim_image not in (None, width):
        raise UserError(f"--dim_image {args.dim_image}: the features have {width} numbers: leave the flag out")
    metadata = {**metadata, "dim_image": width}
    if args.encoder == pretrained.NAME:
        encoder = pretrained.Encoder(contexts, True) if args.finetune_text else pretrained.encoder(contexts[0])
        if encoder.trained:
            for parameter in encoder.net.collect_params().values():
                parameter.lr_mult = args.text_lr / args.lrate
        metadata.update(dim_sentence=encoder.dim, encoder_digest=encoder.digest)
    start = model.load(args.start) if args.start else None
    if start:
        _check(start, metadata, args.start)
        metadata["tokens"] = start.metadata.get("tokens", "words")
    learned = [] if encoder else train.texts
    vocabulary = start.vocabulary if start else Vocabulary.build(map(tokenise, learned))
    net = model.VSE(metadata, vocabulary, backbone, encoder)
    for branch in (net.images, net.sentences.branch if encoder else net.sentences):
        branch.initialize(ctx=contexts)
    if start:
        _copy(start, net)
    elif args.word_vectors:
        start_words(net, args.word_vectors)
    return net


def _check(start: model.VSE, metadata: dict, path) -> None:
    width = start.metadata["dim_image"]
    if width != metadata["dim_image"]:
        raise UserError(f"--start {path} takes features of {width} numbers, these have {metadata['dim_image']}")
    if start.metadata["measure"] == "order" and not start.metadata["use_abs"]:
        raise UserError(f"--start {path} is of order without absolute values, which is not trained here: leave it out")
    if start.metadata.get("finetune_text") and not metadata["finetune_text"]:
        raise UserError(f"--start {path} has trained its sentence encoder: add --finetune-text")
    for name in SIZES:
        if start.metadata[name] != metadata[name]:
            had = start.metadata[name]
            remedy = f"leave out --{name}" if had is False else f"say so by --{name}{'' if had is True else f' {had}'}"
            raise UserError(f"--start {path} was trained with {name} {had}: {remedy}")


def _copy(start: model.VSE, net: model.VSE) -> None:
    """Put the parameters of `start` into `net`, which may have a backbone besides."""
    values = start._collect_params_with_prefix()
    for name, parameter in net._collect_params_with_prefix().items():
        if name in values:
            parameter.set_data(values[name].data())


def start_words(net: model.VSE, path) -> int:
    """Put the vectors of `path` into the word embedding, where it has the word; return how many."""
    words = net.vocabulary.words
    vectors = WordVectors.read(path, words[2:])
    if vectors.left_out:
        print(vectors.report())
    if vectors.dim != net.metadata["dim_word"]:
        raise UserError(f"{path} has vectors of {vectors.dim} numbers: add --dim_word {vectors.dim}")
    parameter = net.sentences.words.weight
    values = parameter.data(parameter.list_ctx()[0]).asnumpy()
    known = [number for number in range(2, len(words)) if words[number] in vectors]
    values[known] = vectors.matrix([words[number] for number in known])
    parameter.set_data(mx.nd.array(values))
    return len(known)


def sentences(net: model.VSE, splits: dict[str, Split]) -> Sentences | pretrained.Vectors | pretrained.Pieces:
    """Those of ``train`` as `net` reads them; the vectors of a pretrained encoder are kept, of all splits."""
    texts = splits["train"].texts
    if net.encoder is None:
        return Sentences(texts, net.vocabulary)
    if net.encoder.trained:
        return pretrained.Pieces(texts, net.encoder)
    net.encoder.keep([text for split in splits.values() for text in split.texts])
    return pretrained.Vectors(texts, net.encoder)


def run(args, splits: dict[str, Split], net: model.VSE, sampler: PairSampler, kvstore) -> Run:
    """The run's folder: what it is trained on stands in its log, with the pictures that were left out."""
    counts = {
        f"{name} {what}": len(values)
        for name, split in splits.items()
        for what, values in (("sentences", split.texts), ("pictures", split.image_labels))
    }
    if net.encoder:
        counts["sentence encoder"] = net.encoder.digest[:12]
    stages = ["baselines", "training", "evaluation", *["pictures"] * (not args.no_plots)]
    found = Run.start(args, "vse", kvstore.rank, {**counts, "workers": kvstore.num_workers}, stages=stages)
    skipped = [one for split in splits.values() if split.pictures is not None for one in split.pictures.skipped]
    walk.write(list(dict.fromkeys(skipped)), found.folder / "skipped.txt")
    for name, split in splits.items():
        found.log(f"{args.dataset}, {name}: {split.summary()}")
    size = sampler.batch_size
    if size < args.batch_size:
        found.log(f"batches of {size} sentences, as many as there are for them (--batch_size {args.batch_size})")
    trained = ", which is trained too" if net.encoder and net.encoder.trained else ""
    read = f"sentences by {args.encoder}{trained}" if net.encoder else f"{len(net.vocabulary)} words"
    found.log(f"{read}; {sampler.updates} updates in {args.max_epochs} epochs")
    return found


def saved(args) -> tuple[model.VSE, evaluation.EvaluationSet]:
    """The model that the flags of `flags.USE` name, and the split that it is asked about.

    What no flag says of the data is as in the model's training.

    Raises
    ------
    UserError
        The model or the data cannot be read, or the model takes features and the data are pictures.
    """
    ctx = devices.contexts(args.gpus)[0]
    net = model.load(args.params, ctx)
    metadata = net.metadata
    own = not (args.dataset or args.captions or args.data_path)
    name = args.dataset or metadata["dataset"]
    path = metadata.get("data_path") if own else args.data_path
    captions = metadata.get("captions", []) if own else args.captions
    images = args.images or (metadata.get("images") if own else None)
    if layouts.has_pictures(name, captions) and not metadata["model"]:
        raise UserError(
            f"{args.params} takes features from files, not the pictures of --data {name}: give the data it is for"
        )
    each = args.captions_per_image or (metadata.get("captions_per_image") if own else None)
    if own and metadata.get("on_error") == "skip":  # what its training left out is left out here
        args.on_error = "skip"
    seed, protocol = metadata.get("seed", 123), metadata.get("protocol", "unseen") if own else "unseen"
    found = layouts.load(name, path, seed, captions, images, [args.part], each, args.on_error, protocol)
    if net.backbone is None:
        pictures.read_features(found, pictures.Reader(metadata, num_workers=args.num_workers, ctx=ctx))
    if net.encoder:
        net.encoder.keep(found[args.part].texts)
    return net, evaluation.EvaluationSet(found[args.part], args.num_workers, ctx)


def read_by(net: model.VSE, name: str, weights: str) -> None:
    """Have a model of features look at pictures too, through the network that its features came from.

    The features of the 2014 code are of length one, as its demo makes them.

    Parameters
    ----------
    net : model.VSE
    name, weights : str
        See `common.backbones.create`.

    Raises
    ------
    UserError
        The model has a network already, or takes features of another width.
    """
    if net.metadata["model"]:
        raise UserError(f"--features-by {name}: the model looks at pictures by {net.metadata['model']}: leave it out")
    width, size = backbones.info(name)
    if width != net.metadata["dim_image"]:
        wanted = net.metadata["dim_image"]
        raise UserError(f"--features-by {name}: it gives {width} numbers, and the model takes {wanted}")
    net.metadata.update(
        model=name, params=None if weights == "imagenet" else weights, image_size=size,
        photographs=True, int8=False, unit_features=net.metadata.get("origin") == "2014",
    )  # fmt: skip
