"""What a training starts from: the settings that are saved with the model, and the network."""

from __future__ import annotations

import os
from pathlib import Path

import mxnet as mx

from common import backbones
from common.files.errors import UserError
from common.text.vectors import WordVectors
from common.text.vocabulary import Vocabulary, tokenise
from examples.vse import layouts, model

SIZES = ("dim", "dim_word", "encoder", "bidirectional", "measure")
PHOTOGRAPHS = "vgg19"  # reads them by default
DRAWINGS = "efficientnet_lite0"  # and this emoji and glyphs: a package registry ships its parameters
DRAWN = {"emoji": 128, "glyphs": 64}  # pixels at which they are read: twice those that they have


def about(args) -> dict:
    """The settings of the flags, and where the data was: with the model, all that is needed to use it."""
    pictures = layouts.has_pictures(args.dataset, args.captions)
    if args.saveto and not Path(args.saveto).absolute().parent.is_dir():
        raise UserError(f"--saveto {args.saveto}: there is no such folder to write into")
    kept = {name: getattr(args, name) for name in SIZES}
    kept.update({name: getattr(args, name) for name in ("dataset", "seed", "int8", "on_error")})
    name = (args.model or (PHOTOGRAPHS if args.captions else DRAWINGS)) if pictures else None
    kept.update(model=name, photographs=bool(args.captions))
    kept["captions_per_image"] = args.captions_per_image
    for path in ("data_path", "images", "params"):
        kept[path] = os.path.abspath(getattr(args, path)) if getattr(args, path) else None
    kept["captions"] = [os.path.abspath(file) for file in args.captions]
    if pictures:
        size = None if args.captions else DRAWN[args.dataset]
        kept["image_size"] = args.image_size or size or backbones.input_size(name)
    return kept


def network(args, about: dict, train, contexts) -> model.VSE:
    """A network to be trained: new, or from ``--start``.

    Raises
    ------
    UserError
        Flags, data and the model to start from do not fit each other.
    """
    backbone = None
    if args.finetune:
        backbone = backbones.create(about["model"], args.params or "imagenet", contexts, size=about["image_size"])
        backbone.freeze_batch_norm()
        for parameter in backbone.normalize.collect_params().values():
            parameter.grad_req = "null"
        for parameter in backbone.collect_params().values():
            parameter.lr_mult = args.backbone_lr
    width = backbone.width if backbone else train.features.shape[1]
    if args.dim_image not in (None, width):
        raise UserError(f"--dim_image {args.dim_image}: the features have {width} numbers: leave the flag out")
    about["dim_image"] = width
    start = model.load(args.start) if args.start else None
    if start:
        _check(start, about, args.start)
        about["tokens"] = start.metadata.get("tokens", "words")
    vocabulary = start.vocabulary if start else Vocabulary.build(map(tokenise, train.texts))
    net = model.VSE(about, vocabulary, backbone)
    for branch in (net.images, net.sentences):
        branch.initialize(ctx=contexts)
    if start:
        _take(net, start)
    elif args.word_vectors:
        start_words(net, args.word_vectors)
    return net


def _check(start: model.VSE, about: dict, path) -> None:
    width = start.metadata["dim_image"]
    if width != about["dim_image"]:
        raise UserError(f"--start {path} takes features of {width} numbers, these have {about['dim_image']}")
    for name in SIZES:
        if start.metadata[name] != about[name]:
            flag = {"bidirectional": "--bidirectional"}.get(name, f"--{name} {start.metadata[name]}")
            raise UserError(f"--start {path} was trained with {name} {start.metadata[name]}: say so by {flag}")


def _take(net: model.VSE, start: model.VSE) -> None:
    """Put the values of `start` into `net`, which may have a backbone besides."""
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
