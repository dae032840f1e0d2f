"""The document's names of networks, and a network with weights for a name."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from common.files.errors import UserError, near

DOCUMENT = {  # the document's name: the same network with Keras's weights, then other sources of the same network
    "VGG16": ("keras-vgg16", "vgg16"),
    "VGG19": ("keras-vgg19", "vgg19"),
    "ResNet50": ("keras-resnet50", "resnet50_v1b", "resnet50_v1"),
    "MobileNet": ("keras-mobilenet", "mobilenet1.0"),
    "Xception": ("keras-xception", "xception"),
    "InceptionV3": ("keras-inceptionv3", "inceptionv3"),
    "InceptionResNetV2": ("keras-inceptionresnetv2",),
}


def candidates(name: str) -> tuple[str, ...]:
    """Names in `common.backbones` for `name`, in the document's or the suite's spelling, in any case.

    Raises
    ------
    UserError
        No such network; the message has the near names.
    """
    from common.backbones import registry

    document, lower = {key.lower(): names for key, names in DOCUMENT.items()}, name.lower()
    if lower in document:
        return document[lower]
    if registry.has(lower):
        return (lower,)
    close = near(name, [*registry.list_backbones(), *DOCUMENT]) or f" (the document's are {', '.join(DOCUMENT)})"
    raise UserError(f"-tm {name}: no such network{close}")


TAKEN = ("size", "mean", "deviation", "layer", "pooling")  # what `create` may be told of a network


def taken(args) -> dict:
    """What the flags say of the network, for `create`: `TAKEN`.

    Parameters
    ----------
    args : argparse.Namespace
        Of train.py or generate_embedding.py.
    """
    return {"size": args.image_size, **{name: getattr(args, name) for name in TAKEN[1:]}}


def tuned(name: str, preprocessing: dict, parameters: dict, ctx=None, layer=None, pooling=None):
    """The backbone `name` as train.py's --fine-tune left it.

    Parameters
    ----------
    name : str
    preprocessing : dict
        See `common.backbones.preprocessing.Preprocessing`.
    parameters : dict of str to NDArray
        By structural name.
    ctx : mx.Context, optional
    layer, pooling
        See `common.backbones.pooling.choose`.

    Raises
    ------
    ValueError
        The parameters are not those of this network.
    """
    import mxnet as mx

    from common import backbones
    from common.backbones import modelfile
    from common.backbones.preprocessing import Preprocessing

    found = Preprocessing.from_dict(preprocessing)
    choice = candidates(name)[0]
    size = None if found.size == backbones.input_size(choice) else found.size
    net = backbones.create(choice, size=size, preprocessing=found, layer=layer, pooling=pooling)
    modelfile.fill(net, parameters, ctx or mx.cpu())
    return net


def check_named(classifier, path) -> None:
    """See that a classifier, read from `path`, says which network's features it takes.

    Raises
    ------
    UserError
        It was trained on a file of features.
    """
    if not classifier.backbone.get("name"):
        raise UserError(f"{path} was trained on a file of features: train.py --model NAME notes their network")


def of_classifier(classifier, path):
    """The network whose features a classifier takes, with the values it was trained on.

    Parameters
    ----------
    classifier : examples.transfer.model.Classifier
    path : path
        Of its file, for messages.

    Raises
    ------
    UserError
        It does not say which network that is, or this one cannot be had or gives other features.
    """
    from common.files.errors import reading
    from examples.transfer import model

    check_named(classifier, path)
    described = classifier.backbone
    name = described["name"]
    if classifier.parameters:  # fine-tuned
        with reading(path, model.REMEDY):
            at = {key: described.get(key) for key in ("layer", "pooling")}
            net = tuned(name, classifier.preprocessing, classifier.parameters, **at)
    else:
        of = {key: described.get(key) for key in TAKEN}
        net = create(name, described["weights"], seed=described["seed"], **of)
    if len(classifier.mean) != net.width:
        raise UserError(f"{path} takes {len(classifier.mean)} numbers, but {name} gives {net.width}")
    net.hybridize(static_alloc=True, static_shape=True)
    return net


def interpolation(asked: str, net) -> str:
    """The filter that pictures are resized by: of ``weights`` the one that those of the network were trained with.

    Parameters
    ----------
    asked : str
        Of ``--interpolation``.
    net : common.backbones.Backbone or None
        None: it is settled where there is one.
    """
    return net.preprocessing.interpolation if net and asked == "weights" else asked


def settle(args, net) -> None:
    """Put numbers and names in the place of ``weights`` in ``--interpolation`` and ``--crop-share``.

    Parameters
    ----------
    args : argparse.Namespace
        Of train.py or generate_embedding.py, which is changed.
    net : common.backbones.Backbone or None
        None: features were made before.

    Raises
    ------
    UserError
        ``--crop-share`` goes with another flag, or it needs the network.
    """
    args.interpolation = interpolation(args.interpolation, net)
    if args.crop_share and (args.resize or args.keep_aspect):
        flag = "--resize" if args.resize else "--keep-aspect"
        raise UserError(f"--crop-share {args.crop_share} resizes the shorter side by itself: leave out {flag}")
    if args.crop_share == "weights":
        if net is None:
            raise UserError("--crop-share weights needs the network, and features were made before: give the number")
        args.crop_share = net.preprocessing.crop_share


def check_own(weights: str, mean, deviation) -> None:
    """Refuse ``--mean`` and ``--deviation`` of weights that bring theirs.

    Raises
    ------
    UserError
        ``"imagenet"`` with one of them.
    """
    for flag, given in (("--mean", mean), ("--deviation", deviation)):
        if given and weights == "imagenet":
            raise UserError(f"{flag} is for a file of weights; ImageNet's bring theirs: leave it out, or give a file")


def create(
    name: str, weights: str, ctx=None, seed: int = 0, size: int | None = None, mean=None, deviation=None, layer=None,
    pooling=None,
):  # fmt: skip
    """The backbone `name` with values.

    Parameters
    ----------
    weights : str
        ``"imagenet"``: the first source that can be had; ``"None"``: random, by `seed`; otherwise a file: ``.params``,
        Keras's ``.h5`` or ``.keras``, or PyTorch's ``.pth`` or ``.safetensors``.
    size : int, optional
        Side in pixels of the pictures it will see, and its ``input_size`` then; None: those it was made for.
    mean, deviation : sequence of 3 float, optional
        Of red, green and blue, 0..255, instead of those that belong to a file of weights.
    layer, pooling
        See `common.backbones.pooling.choose`.

    Raises
    ------
    UserError
        No such network, it takes no pictures of that size, or the weights cannot be had; the message names the command
        that gets them.
    """
    check_own(weights, mean, deviation)
    options = {"size": size, "mean": mean, "deviation": deviation, "layer": layer, "pooling": pooling}
    net = _create(name, weights, ctx, seed, options)
    if size:
        net.input_size, net.preprocessing = size, dataclasses.replace(net.preprocessing, size=size)
    return net


def _create(name: str, weights: str, ctx, seed: int, options: dict):
    import mxnet as mx

    from common import backbones
    from common.backbones import entries
    from common.backbones.convert.torch import SUFFIXES
    from common.backbones.pretrained import find

    names = candidates(name)
    if weights.lower() == "none":
        mx.random.seed(seed)
        net = backbones.create(names[0], **options)
        net.initialize(mx.init.MSRAPrelu(), ctx=ctx)
        return net
    if weights != "imagenet" and not Path(weights).is_file():
        raise UserError(f"-weights {weights}: no such file; the choices are imagenet, None or a file of parameters")
    if weights != "imagenet":  # a file of PyTorch's belongs to the zoo's network, not to Keras's of the same name
        torch = Path(weights).suffix in SUFFIXES
        return backbones.create(names[1] if torch and len(names) > 1 else names[0], weights, ctx, **options)
    for choice in names:
        try:
            found = find(choice, "imagenet")
        except UserError as error:
            reason = error
            continue
        if choice != names[0]:
            print(f"{name}: Keras's weights cannot be had; the same network from another source: {found.source}")
        return backbones.create(choice, "imagenet", ctx, **options)
    if len(names) == 1 and not names[0].startswith("keras-"):
        raise reason
    ways = [weights.name for choice in names if (weights := entries.find(choice).weights)]
    raise UserError(
        f"no pretrained weights for {name}: {' or '.join(f'./get_data.sh {way}' for way in ways)} fetches them;"
        " or give a file with -weights FILE, or use -tm squeezenet1.1 or efficientnet_lite0, which a package ships"
    ) from reason
