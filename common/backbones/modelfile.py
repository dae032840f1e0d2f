"""A trained model in one file: MXNet's array format, read without running anything that is in it.

``NAME.params`` holds the network's parameters under their structural names, so that Gluon's own
``load_parameters(path, ignore_extra=True)`` reads it, and under names with a colon, which no parameter has:

- ``array:...``: what belongs to the model besides, such as class vectors or the weights of a classifier;
- ``meta:json``: the metadata as JSON (uint8), with ``format_version`` and ``kind``, the example that wrote it;
- ``meta:sha256``: the SHA-256 of all other arrays, metadata included (uint8), which is verified at reading.

Files of the versions before, which had no ``meta:json``, are read too.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import mxnet as mx
import numpy as np
from mxnet.gluon import Block

from common.backbones import registry
from common.files import outside
from common.files.disk import atomic, plain, save_arrays
from common.files.errors import UserError, reading

FORMAT_VERSION = 1
METADATA, DIGEST, ARRAY = "meta:json", "meta:sha256", "array:"

# Before format version 1: metadata in an array of this name, and of what kind by its "format"; or in a NAME.json.
OLD_METADATA, OLD_PARAMETER = "about", "net:"
OLD_KINDS = {"vse 2": "vse", "im2vec 1": "im2vec"}
OLD_PREPROCESSING = ("mean", "scale", "bgr", "size")  # in the NAME.json among the other keys


@dataclasses.dataclass
class ModelFile:
    """What a model file holds.

    Attributes
    ----------
    path : Path
        The file.
    metadata : dict
        Without ``format_version`` and ``kind``.
    parameters : dict of str to NDArray
        The network's, by structural name.
    arrays : dict of str to NDArray
        What else there is.
    described_in : Path
        Where the metadata came from, for messages: `path`, or the ``.json`` beside a file of an older version.
    """

    path: Path
    metadata: dict
    parameters: dict
    arrays: dict
    described_in: Path


def values(block: Block) -> dict:
    """The parameters of `block` by structural name, each from the first of its devices."""
    return {name: p.data(p.list_ctx()[0]) for name, p in block._collect_params_with_prefix().items()}


def digest(block: Block, about: str) -> str:
    """A SHA-256 over the parameters of `block` and what else decides on its output, for the name of what is kept of it.

    Parameters
    ----------
    block : mxnet.gluon.Block
    about : str

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    total = hashlib.sha256(about.encode() + getattr(block, "variant", "").encode())
    for name, array in values(block).items():
        total.update(name.encode())
        total.update(np.ascontiguousarray(array.asnumpy()))
    return total.hexdigest()


def save(path, kind: str, parameters: Mapping, metadata: Mapping, arrays: Mapping | None = None) -> None:
    """Write a model, whole or not at all.

    Parameters
    ----------
    path : path
        Of the file to be, ``.params``.
    kind : str
        Which example's model it is.
    parameters : mapping of str to NDArray
        The network's, by structural name; see `values`.
    metadata : mapping
        What JSON can hold (NumPy numbers and paths too): what the network is built from, and where it came from.
    arrays : mapping of str to array, optional
        NumPy's or MXNet's: what belongs to the model besides.

    Raises
    ------
    UserError
        The file cannot be written.
    """
    content = {name: value.as_in_context(mx.cpu()) for name, value in parameters.items()}
    for name, value in (arrays or {}).items():
        content[ARRAY + name] = mx.nd.array(value, dtype=value.dtype)
    text = json.dumps({**metadata, "format_version": FORMAT_VERSION, "kind": kind}, default=plain)
    content[METADATA] = _bytes(text.encode())
    content[DIGEST] = _bytes(_sha256(content))
    with atomic(path) as tmp:
        save_arrays(tmp, content)


def load(path, kind: str, fields: Mapping, remedy: str) -> ModelFile:
    """Read a model of this version or an older one.

    Parameters
    ----------
    path : path
    kind : str
        Which example's model it must be.
    fields : mapping of str to type or function
        What its metadata must have, see `common.files.outside.check_fields`; of every kind it may have ``views``, see
        `common.data.transforms.Views`.
    remedy : str
        What to do about a file that is no such model.

    Returns
    -------
    ModelFile
        Its numbers are finite; that they fit the metadata is for `fill` to see.

    Raises
    ------
    UserError
        The file is missing, damaged, of another kind or of a newer version, or its metadata lacks a field.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no model there; train.py writes one")
    found = outside.arrays(path, remedy)
    read = _read if METADATA in found else _read_inline if OLD_METADATA in found else _read_sidecar
    with reading(path, remedy):
        file = read(path, kind, found, remedy)
    with reading(file.described_in, remedy):
        outside.check_fields({"views": [], **file.metadata}, {**fields, "views": outside.shares})
    return file


def is_model(path, key: str, remedy: str) -> bool:
    """Whether a file is the model of an example, and not the parameters of a network alone.

    Parameters
    ----------
    path : path
    key : str
        What a ``.json`` beside a model of an older version has, and one beside plain parameters has not.
    remedy : str
        What to do about such a ``.json`` that cannot be read.

    Raises
    ------
    UserError
        There is a ``.json`` that is none.
    """
    with contextlib.suppress(UserError):  # another format, or damaged: whoever reads it as such says so
        if METADATA in outside.shapes(path, remedy):
            return True
    sidecar = Path(path).with_suffix(".json")
    return sidecar.is_file() and key in outside.read_json(sidecar, remedy)


def check_network(name) -> None:
    """See that the network that metadata names is one of `common.backbones.list_backbones`.

    Raises
    ------
    ValueError
        It is not.
    """
    if not registry.has(name):
        raise ValueError(f"no network is called {str(name)[:40]!r}")


def fill(block: Block, parameters: Mapping, ctx=None) -> None:
    """Put values into a network, after it was seen that they are the network's; 16-bit numbers are widened.

    Parameters
    ----------
    block : Block
    parameters : mapping of str to NDArray
        By structural name.
    ctx : mx.Context or list, optional
        Where a network without values is to have them; None: it has values, which are overwritten where they are.

    Raises
    ------
    ValueError
        They are not the network's parameters, or have other shapes.
    """
    wanted = block._collect_params_with_prefix()
    if set(wanted) != set(parameters):
        raise ValueError(f"its parameters are {', '.join(sorted(set(wanted) ^ set(parameters)))[:60]} apart")
    for name, parameter in wanted.items():  # before anything of that size is made
        shape = tuple(parameters[name].shape)
        if shape != parameter.shape:
            raise ValueError(f"{name} is {shape} in the file and {parameter.shape} by its metadata")
    for name, parameter in wanted.items():
        if ctx is not None and parameter._data is None:
            parameter.initialize(mx.init.Zero(), ctx=ctx)
        parameter.set_data(parameters[name].astype(parameter.dtype))


def _bytes(content: bytes):
    return mx.nd.array(np.frombuffer(content, np.uint8), dtype="uint8")


def _sha256(arrays: Mapping) -> bytes:
    """Over names, types, shapes and bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        content = arrays[name].asnumpy()
        digest.update(json.dumps([name, content.dtype.name, content.shape]).encode())
        digest.update(np.ascontiguousarray(content))
    return digest.digest()


def _read(path: Path, kind: str, found: dict, remedy: str) -> ModelFile:
    metadata = outside.parse_json(found[METADATA].asnumpy().tobytes())
    version = metadata.pop("format_version", None)
    if not outside.whole(version):
        raise ValueError("its metadata has no format version")
    if version > FORMAT_VERSION:  # before the digest, which a newer version may compute otherwise
        raise UserError(f"{path} has format version {version}, newer than {FORMAT_VERSION}: update this code")
    stored = found.pop(DIGEST, None)
    if stored is None or stored.asnumpy().tobytes() != _sha256(found):
        raise ValueError("its content does not match its SHA-256: it is damaged")
    del found[METADATA]
    _check_kind(path, metadata.pop("kind", None), kind, remedy)
    arrays = {name[len(ARRAY) :]: found.pop(name) for name in list(found) if name.startswith(ARRAY)}
    return ModelFile(path, metadata, found, arrays, path)


def _read_inline(path: Path, kind: str, found: dict, remedy: str) -> ModelFile:
    """A model of vse or im2vec of before: the network's parameters have a prefix, the metadata is an array."""
    metadata = outside.parse_json(found.pop(OLD_METADATA).asnumpy().tobytes())
    written_as = metadata.pop("format", None)
    if written_as not in OLD_KINDS:
        raise UserError(f"{path} was written by another version: train it again")
    _check_kind(path, OLD_KINDS[written_as], kind, remedy)
    prefix = len(OLD_PARAMETER)
    parameters = {name[prefix:]: found.pop(name) for name in list(found) if name.startswith(OLD_PARAMETER)}
    return ModelFile(path, _renamed(metadata), parameters, found, path)


def _read_sidecar(path: Path, kind: str, found: dict, remedy: str) -> ModelFile:
    """A model of embedding_learning or visual_semantic of before: parameters alone, the metadata beside them."""
    sidecar = path.with_suffix(".json")
    if not sidecar.is_file():
        raise ValueError(f"it has no metadata, and no {sidecar.name} of an older version is beside it")
    metadata = outside.read_json(sidecar, remedy)
    metadata["preprocessing"] = {key: metadata.pop(key) for key in OLD_PREPROCESSING if key in metadata}
    return ModelFile(path, _renamed(metadata), found, {}, sidecar)


def _check_kind(path: Path, found: str | None, kind: str, remedy: str) -> None:
    if found != kind:
        raise UserError(f"{path} holds a model of {found}, not of {kind}: {remedy}")


def _renamed(metadata: dict) -> dict:
    """The metadata of an older version under today's keys."""
    if "figures" in metadata:
        metadata["metrics"] = metadata.pop("figures")
    return metadata
