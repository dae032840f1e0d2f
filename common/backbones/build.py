"""A name and its parameters -> a feature extractor."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import mxnet as mx
from mxnet.gluon import HybridBlock

from common.backbones import convert, entries, modelfile, pretrained
from common.backbones.backbone import Backbone, cut
from common.backbones.pooling import choose
from common.backbones.preprocessing import Preprocessing
from common.backbones.registry import network
from common.files import outside
from common.files.errors import UserError, reading


def create(
    name: str,
    weights: str | None = None,
    ctx=None,
    classifier: bool = False,
    size: int | None = None,
    preprocessing: Preprocessing | None = None,
    mean: Sequence[float] | None = None,
    deviation: Sequence[float] | None = None,
    layer: int | None = None,
    pooling: str | None = None,
) -> Backbone:
    """A feature extractor.

    Parameters
    ----------
    name : str
        See `common.backbones.list_backbones`.
    weights : str or None
        ``"imagenet"``, a file (`pretrained.find`), or None: without values, for the caller to initialise.
    ctx : mx.Context or list
        Where the values go.
    classifier : bool
        Keep the classifier, for `Backbone.logits`.
    size : int, optional
        Side in pixels of the pictures it will see: decides the width of conv4, the padding of keras-xception and the
        positions of vision transformers, which are interpolated.
    preprocessing : Preprocessing, optional
        Instead of the one that belongs to the weights.
    mean, deviation : sequence of 3 float, optional
        Instead of those that belong to the weights: see `Preprocessing.replaced`.
    layer, pooling
        Where features are taken: see `common.backbones.pooling.choose`.

    Raises
    ------
    UserError
        No such network, or the weights cannot be had or do not fit.
    """
    net = network(name, size)
    found = pretrained.find(name, weights) if weights else None
    if found:
        _fill(net, name, found.path, ctx or mx.cpu(), classifier)
    preprocessing = preprocessing or (found.preprocessing if found else entries.find(name).preprocessing)
    preprocessing = preprocessing.replaced(mean, deviation)
    if size and hasattr(net, "fitted"):  # its positions were made for this size
        preprocessing = dataclasses.replace(preprocessing, size=size)
    if found and preprocessing.bgr:
        preprocessing = _rgb(net, preprocessing)
    parts = cut(net)
    if not classifier:
        parts.classifier = None
    variant = choose(parts, layer, pooling)
    backbone = Backbone(name, parts, preprocessing, found.source if found else "random", variant)
    backbone.taken = {"layer": layer, "pooling": pooling}
    side = size or preprocessing.size
    try:
        backbone.infer(side)
    except mx.MXNetError as error:
        if found and parts.fixed_size:  # dense layers on maps, whose weights have their shape
            made_for = f"the weights of {name} take pictures of {preprocessing.size} pixels"
            raise UserError(f"--image-size {side}: {made_for}") from error
        # A pooling larger than what is left of the picture.
        raise UserError(f"--image-size {side} is too small for --model {name}: the pictures are pooled away") from error
    if found:
        backbone.normalize.initialize(ctx=ctx or mx.cpu())
    return backbone


def _fill(net: HybridBlock, name: str, path, ctx, classifier: bool) -> None:
    """Values for `net` from a ``.params`` file or a foreign one, the classifier's only where it is wanted."""
    if path.suffix in convert.SUFFIXES:
        convert.load(net, name, path, classifier)
        for parameter in net.collect_params().values():
            if parameter._data is not None:
                parameter.reset_ctx(ctx)
        return
    remedy = f"it does not fit --model {name}"
    if hasattr(net, "fitted"):
        arrays = net.fitted({key: value.asnumpy() for key, value in outside.arrays(path, remedy).items()})
        with reading(path, remedy):
            modelfile.fill(net, {key: mx.nd.array(value) for key, value in arrays.items()}, ctx)
        return
    outside.load_parameters(net, path, remedy, ctx)


def _rgb(net: HybridBlock, preprocessing: Preprocessing) -> Preprocessing:
    """Make `net`, which takes blue first, take red first: turn its first kernel once instead of every picture."""
    first = next(p for p in net.collect_params().values() if p.shape is not None and len(p.shape) == 4)
    first.set_data(first.data(first.list_ctx()[0]).flip(axis=1))
    return dataclasses.replace(preprocessing, mean=preprocessing.mean[::-1], scale=preprocessing.scale[::-1], bgr=False)


@functools.cache
def info(name: str) -> tuple[int, int]:
    """(width, input size in pixels) of a network, from its shapes alone."""
    backbone = create(name)
    return backbone.width, backbone.input_size
