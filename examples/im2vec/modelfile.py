"""A trained model in one file, see `common.backbones.modelfile`: f(x), class vectors, and what they were made from."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import mxnet as mx
import numpy as np

from common.backbones import modelfile
from common.backbones.preprocessing import Preprocessing
from common.files import outside
from common.files.disk import with_folder
from common.files.errors import UserError, reading
from examples.im2vec import model, objectives

KIND = "im2vec"
REMEDY = "it is not a model that train.py wrote, or is damaged"
OBJECTIVE = "objective:"  # before the names of the objective's parameters among the file's arrays
FIELDS = {  # what a model is built from
    "classes": outside.texts, "model": str, "dim": outside.whole, "negatives": outside.whole,
    "size": lambda found: outside.whole(found, 5, 4096),  # MXNet ends the process at some others
    "counts": lambda found: isinstance(found, list) and all(outside.whole(n, 0, 1 << 40) for n in found),
    "groups": lambda found: found is None or isinstance(found, list) and all(outside.whole(n, 0) for n in found),
    "group_names": lambda found: found is None or outside.texts(found), "dataset": str, "epochs": int,
    "preprocessing": lambda found: found is None or isinstance(found, dict),
    "objective": lambda found: found in ("negative", "softmax", "hierarchical"),
}  # fmt: skip


@dataclasses.dataclass
class Model:
    """What a model file holds.

    Attributes
    ----------
    net : examples.im2vec.model.Im2Vec
        f(x).
    objective
        Holds the class vectors, see `examples.im2vec.objectives`.
    metadata : dict
        ``dataset``, ``classes``, ``counts``, ``groups``, ``group_names``, ``model``, ``size``, ``preprocessing``,
        ``dim``, ``objective``, ``negatives``, ``epochs``, ``stability`` (see `examples.im2vec.stability`), ``views``,
        which models of old have not.
    means : (classes, dim) float32
        The mean of f(x) over the training pictures of each class.
    examples : (classes, s, s, 3) uint8
        For each class the training picture that the model is surest of.
    """

    net: model.Im2Vec
    objective: objectives.Objective
    metadata: dict
    means: np.ndarray | None = None
    examples: np.ndarray | None = None

    def vectors(self, kind: str) -> np.ndarray:
        """The class vectors (``class``), or the means of f(x) (``mean``): (classes, d) float32."""
        return self.objective.class_vectors() if kind == "class" else self.means


def params_path(path) -> Path:
    """The file that ``--input`` or ``--output`` means: ``.params`` is added where the name has it not."""
    path = Path(path)
    return path if path.suffix == ".params" else path.with_name(path.name + ".params")


def build(metadata: dict, weights=None, ctx=None) -> Model:
    """A model with new values, or pretrained ones in its backbone.

    Parameters
    ----------
    metadata : dict
        See `Model`; ``size``, ``dim`` and ``preprocessing`` may be None for the network's own.
    weights : str or None
        ``"imagenet"`` or a file, see `common.backbones.create`.
    ctx : mx.Context or list, optional
    """
    ctx = ctx or mx.cpu()
    mean = metadata["objective"] == "negative"
    net = model.create(
        metadata["model"], metadata["dim"], metadata["size"], weights, metadata["preprocessing"], ctx, mean
    )
    objective = objectives.create(
        metadata["objective"], metadata["counts"], net.dim, metadata["negatives"], metadata["groups"]
    )
    objective.initialize(ctx=ctx)
    found = {"size": net.size, "dim": net.dim, "preprocessing": model.description(net)}
    return Model(net, objective, {**metadata, **found})


def save(path, saved: Model) -> Path:
    """Write `saved` whole or not at all; return the file's path."""
    path = with_folder(params_path(path))
    arrays = {OBJECTIVE + name: value for name, value in modelfile.values(saved.objective).items()}
    modelfile.save(
        path,
        KIND,
        modelfile.values(saved.net),
        saved.metadata,
        {**arrays, "means": saved.means.astype(np.float32), "examples": saved.examples.astype(np.uint8)},
    )
    return path


def describe(path) -> dict:
    """The metadata of a model file."""
    return _read(path).metadata


def load(path, ctx=None) -> Model:
    """The model in file `path`.

    Raises
    ------
    UserError
        No such file, or no im2vec model.
    """
    file = _read(path)
    with reading(file.path, REMEDY):
        loaded = build(file.metadata, ctx=ctx)
        modelfile.fill(loaded.net, file.parameters)
        start = len(OBJECTIVE)
        modelfile.fill(
            loaded.objective, {name[start:]: v for name, v in file.arrays.items() if name.startswith(OBJECTIVE)}
        )
        loaded.means, loaded.examples = (file.arrays[name].asnumpy() for name in ("means", "examples"))
    return loaded


def _read(path) -> modelfile.ModelFile:
    path = Path(path) if Path(path).is_file() else params_path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such model; train.py --output writes one")
    file = modelfile.load(path, KIND, FIELDS, REMEDY)
    with reading(path, REMEDY):
        _check(file.metadata, file.arrays)
    return file


def _check(metadata: dict, arrays: dict) -> None:
    """See that metadata and arrays belong together, before anything is made by them."""
    missing = [name for name in ("means", "examples") if name not in arrays]
    if missing:
        raise ValueError(f"it has no {missing[0]!r}")
    if metadata["model"] != model.SMALL:
        modelfile.check_network(metadata["model"])
    if metadata["preprocessing"]:
        Preprocessing.from_dict(metadata["preprocessing"])
    classes, groups, means = len(metadata["classes"]), metadata["groups"] or [], arrays["means"].shape
    if len(metadata["counts"]) != classes or means != (classes, metadata["dim"]):
        raise ValueError(f"its {classes} classes have {len(metadata['counts'])} counts and means of shape {means}")
    if groups and (len(groups) != classes or max(groups) >= len(metadata["group_names"] or [])):
        raise ValueError("its classes are not in the groups that it names")
    if len(arrays["examples"]) != classes:
        raise ValueError(f"it has {len(arrays['examples'])} pictures for {classes} classes")
