"""The network that the flags of train.py ask for."""

from __future__ import annotations

from pathlib import Path

import mxnet as mx

from common import backbones
from common.data import transforms
from common.files.errors import UserError
from examples.visual_semantic import data, model, words
from examples.visual_semantic.stage import is_frozen


def build(args, splits: data.Splits, contexts: list[mx.Context]) -> tuple[model.VisualSemanticNet, transforms.Eval]:
    """A network to be trained, and the transform of the pictures that it is evaluated on.

    Parameters
    ----------
    args : argparse.Namespace
        Of train.py.
    splits : data.Splits
        Its classes are the network's.
    contexts : list of mx.Context

    Raises
    ------
    UserError
        The backbone is frozen and random, a file cannot be used, a class has no word vector, or flags exclude each
        other.
    """
    if data.is_given(splits.train):
        return _given(args, splits, contexts)
    weights = args.params or ("imagenet" if args.use_pretrained else None)
    ours = weights if weights and model.is_model(weights) else None  # a model of an earlier run
    keeps_values = is_frozen(args, args.stages[0]) or args.freeze_batch_norm
    if keeps_values and not weights and not args.resume:
        raise UserError("a frozen backbone keeps what it learned before, and it learned nothing: add --use-pretrained")
    _check(args)
    size = args.image_size or backbones.input_size(args.model)
    renamed, sentences = data.word_of(args, splits), data.described(args, splits)
    vectors = words.vectors(splits.class_names, args.word_vectors, renamed, sentences, args.prompts)
    space = words.space(args.word_space, args.word_vectors)
    mx.random.seed(args.seed)
    net = model.create(
        args.model, None if ours else weights, splits.seen, splits.unseen, vectors, contexts, size, args.hidden,
        args.dropout, space,
    )  # fmt: skip
    if ours:
        model.restore(net, ours)
        net.backbone.source = f"file {Path(ours).name}"
    if args.freeze_batch_norm:
        net.backbone.freeze_batch_norm()
    net.hybridize(static_alloc=True, static_shape=True)
    net.backbone.speed_up_training()
    return net, transforms.evaluation(args.resize or round(size * 8 / 7), size, args.keep_aspect, args.views)


def _given(args, splits, contexts):
    """A network on given features, with given vectors for words; no picture is read, so the backbone's flags go."""
    odd = {
        "--params": args.params, "--views": args.views, "--words": args.words, "--prompts": args.prompts,
        "--class-text": args.class_text != "name", "--word-space": args.word_space != "raw",
    }  # fmt: skip
    wrong = next((flag for flag, value in odd.items() if value), None)
    if wrong:
        raise UserError(f"--dataset {args.dataset} has features and attributes, not pictures and words: no {wrong}")
    args.model, args.word_vectors, args.backbone_lr = model.GIVEN, "attributes", 0.0
    _check(args)
    backbone = model.GivenFeatures(splits.train.images.shape[1])
    mx.random.seed(args.seed)
    net = model.attach(backbone, splits.seen, splits.unseen, splits.vectors, contexts, args.hidden, args.dropout)
    net.hybridize(static_alloc=True, static_shape=True)
    return net, transforms.evaluation(1, 1)


def _check(args):
    if args.amp and all(is_frozen(args, name) for name in args.stages):
        raise UserError("--amp is for a backbone that is trained, and this one is frozen: leave it out")
    if args.head == "eszsl" and args.hidden:
        raise UserError("--head eszsl is linear: leave out --hidden")
    if args.head == "eszsl" and args.find_lr and args.stages[0] == "2a":
        raise UserError("--head eszsl has no learning rate in stage 2a: leave out --find-lr")
