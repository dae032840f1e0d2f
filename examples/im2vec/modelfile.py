"""A trained model in one file: MXNet's own array format, nothing that runs code when it is read."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import mxnet as mx
import numpy as np

from common.backbones.pretrained import from_card
from common.files import outside
from common.files.disk import atomic, save_arrays, writing
from common.files.errors import UserError, reading
from examples.im2vec import model, objectives

FORMAT = "im2vec 1"
WANTED = "it is not a model that train.py wrote, or is damaged"
FIELDS = {  # what a model is built from
    "classes": outside.texts, "model": str, "dim": outside.whole, "size": outside.whole, "negatives": outside.whole,
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
    about : dict
        ``dataset``, ``classes``, ``counts``, ``groups``, ``group_names``, ``model``, ``size``, ``preprocessing``,
        ``dim``, ``objective``, ``negatives``, ``epochs``, ``stability`` (see `examples.im2vec.stability`).
    means : (classes, dim) float32
        The mean of f(x) over the training pictures of each class.
    examples : (classes, s, s, 3) uint8
        For each class the training picture that the model is surest of.
    """

    net: model.Im2Vec
    objective: objectives.Objective
    about: dict
    means: np.ndarray | None = None
    examples: np.ndarray | None = None

    def vectors(self, kind: str) -> np.ndarray:
        """The class vectors (``class``), or the means of f(x) (``mean``): (classes, d) float32."""
        return self.objective.class_vectors() if kind == "class" else self.means


def place(path) -> Path:
    """The file that ``--input`` or ``--output`` means: ``.params`` is added where the name has it not."""
    path = Path(path)
    return path if path.suffix == ".params" else path.with_name(path.name + ".params")


def build(about: dict, weights=None, ctx=None) -> Model:
    """A model as `about` describes it, with new values, or pretrained ones in its backbone (`weights`)."""
    ctx = ctx or mx.cpu()
    mean = about["objective"] == "negative"
    net = model.create(about["model"], about["dim"], about["size"], weights, about["preprocessing"], ctx, mean)
    objective = objectives.create(about["objective"], about["counts"], net.dim, about["negatives"], about["groups"])
    objective.initialize(ctx=ctx)
    found = {"size": net.size, "dim": net.dim, "preprocessing": model.description(net)}
    return Model(net, objective, {**about, **found})


def save(path, saved: Model) -> Path:
    """Write `saved` beside its place, flush and rename; return the file's path."""
    path = place(path)
    arrays = {f"net:{k}": p.data(p.list_ctx()[0]) for k, p in saved.net._collect_params_with_prefix().items()}
    arrays.update(
        {f"objective:{k}": p.data(p.list_ctx()[0]) for k, p in saved.objective._collect_params_with_prefix().items()}
    )
    text = json.dumps({"format": FORMAT, **saved.about}, ensure_ascii=False).encode()
    arrays["about"] = mx.nd.array(np.frombuffer(text, np.uint8), dtype="uint8")
    arrays["means"] = mx.nd.array(saved.means)
    arrays["examples"] = mx.nd.array(saved.examples, dtype="uint8")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as beside:
        save_arrays(beside, arrays)
    return path


def describe(path) -> dict:
    """The ``about`` of a model file."""
    return _about(path, _read(path))


def _about(path, arrays: dict) -> dict:
    with reading(place(path), WANTED):
        about = outside.parse_json(arrays["about"].asnumpy().tobytes())
        outside.check_fields(about, FIELDS)
        if about["preprocessing"]:
            from_card(about["preprocessing"])
        classes, groups, means = len(about["classes"]), about["groups"] or [], arrays["means"].shape
        if len(about["counts"]) != classes or means != (classes, about["dim"]):
            raise ValueError(f"its {classes} classes have {len(about['counts'])} counts and means of shape {means}")
        if groups and (len(groups) != classes or max(groups) >= len(about["group_names"] or [])):
            raise ValueError("its classes are not in the groups that it names")
    return about


def load(path, ctx=None) -> Model:
    """The model in file `path`.

    Raises
    ------
    UserError
        No such file, or no im2vec model.
    """
    arrays = _read(path)
    about = _about(path, arrays)
    with reading(place(path), WANTED):
        loaded = build(about, ctx=ctx)
        for prefix, block in (("net:", loaded.net), ("objective:", loaded.objective)):
            for name, parameter in block._collect_params_with_prefix().items():
                if prefix + name not in arrays:
                    raise UserError(f"{place(path)} has no {prefix}{name}: it was written by another version")
                parameter.set_data(arrays[prefix + name])
        loaded.means, loaded.examples = arrays["means"].asnumpy(), arrays["examples"].asnumpy()
        if len(loaded.examples) != len(about["classes"]):
            raise ValueError(f"it has {len(loaded.examples)} pictures for {len(about['classes'])} classes")
    return loaded


def _read(path) -> dict:
    path = Path(path) if Path(path).is_file() else place(path)
    if not path.is_file():
        raise UserError(f"{path}: no such model; train.py --output writes one")
    arrays = outside.arrays(path, WANTED)
    missing = [name for name in ("about", "means", "examples") if name not in arrays]
    if missing:
        raise UserError(f"{path} is not a model that train.py wrote: it has no {missing[0]!r}")
    return arrays
