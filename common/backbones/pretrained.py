"""Pretrained parameters: found, fetched, converted, kept, each with the preprocessing that belongs to it."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
from pathlib import Path

from common.backbones import convert, entries, registry
from common.backbones.preprocessing import IMAGENET, Preprocessing
from common.files import fetch, outside
from common.files.disk import atomic, save_arrays, write_json
from common.files.errors import UserError, reading
from common.files.paths import weights_dir


@dataclasses.dataclass(frozen=True)
class Found:
    """A file of parameters, the preprocessing that belongs to it, and where it came from.

    Attributes
    ----------
    path : path
    preprocessing : Preprocessing
    source : str
        Where it came from, for the log.
    """

    path: Path
    preprocessing: Preprocessing
    source: str


def find(name: str, weights: str) -> Found:
    """The parameters of network `name`.

    Parameters
    ----------
    name : str
        See `common.backbones.list_backbones`.
    weights : str
        ``"imagenet"``: from the cache, the package or host of the network's entry, or the Gluon model store, in this
        order. Otherwise a file: ``.params``, Keras's ``.h5``, or ``.pth`` or ``.safetensors`` of torchvision. A
        ``.json`` of the same name may hold its preprocessing.

    Returns
    -------
    Found

    Raises
    ------
    UserError
        They cannot be had; the message names the command that gets them.
    """
    if weights != "imagenet":
        path = Path(weights)
        if not path.is_file():
            raise UserError(f"--params {path}: no such file")
        return Found(path, _saved_preprocessing(path) or _own(name, path.suffix), f"file {path.name}")
    path = weights_dir() / f"{name}.params"
    known = entries.find(name).weights
    if not path.is_file() and known and known.on_demand:
        ensure(name)
    if path.is_file():
        return Found(path, _saved_preprocessing(path) or _own(name, path.suffix), f"ImageNet, {path.name}")
    return Found(_from_store(name), IMAGENET, "ImageNet, Gluon model store")


def ensure(name: str, folder=None, mirror: str | None = None) -> Path:
    """Have the parameters of network `name`, fetched and converted if they are not there.

    Parameters
    ----------
    name : str
        A network of ``list_backbones(pretrained=True)``.
    folder : path, optional
        Instead of the one where `find` looks.
    mirror : str, optional
        A folder or address tried before the official one, holding files of the same names.

    Returns
    -------
    Path
        The folder: it holds ``NAME.params``, and the preprocessing in ``NAME.json``.

    Raises
    ------
    UserError
        They cannot be had; the message says which address failed and how to go around it.
    """
    entry = entries.ENTRIES[name]
    folder = Path(folder or weights_dir())
    make = functools.partial(_convert, entry, folder)
    return fetch.ensure(entry.weights.name, entry.source, folder, mirror, make)


def _convert(entry: entries.Entry, folder: Path, paths: list[Path]) -> None:
    """Write the ``.params`` of a network out of the file that was fetched, or that a package holds."""
    (path,) = paths
    if entry.weights.member:
        path = next(path.rglob(entry.weights.member), path / entry.weights.member)
    net = registry.network(entry.name)
    convert.load(net, entry.name, path)
    target = folder / entry.source.check
    with atomic(target, "free some space or give another --dir") as temporary:
        save_arrays(temporary, {name: p.data() for name, p in net._collect_params_with_prefix().items()})
        save_preprocessing(target, entry.weights.preprocessing)


def save_preprocessing(path, preprocessing: Preprocessing) -> None:
    """Write the preprocessing that belongs to a file of parameters, where `find` looks for it.

    Parameters
    ----------
    path : path
        The ``.params`` file; the other has the same name with ``.json``.
    preprocessing : Preprocessing
    """
    write_json(Path(path).with_suffix(".json"), preprocessing.to_dict())


def _saved_preprocessing(path: Path) -> Preprocessing | None:
    file = path.with_suffix(".json")
    if not file.is_file():
        return None
    remedy = f"it says what belongs to {path.name}; write it anew, or take it away"
    with reading(file, remedy):
        config = outside.read_json(file, remedy)
        return Preprocessing.from_dict(config) if "mean" in config and "scale" in config else None


def _own(name: str, suffix: str) -> Preprocessing:
    """The preprocessing of a file for network `name` that comes without one.

    A file laid out as torchvision's is taken for one trained there, also where the network's own parameters were not.
    """
    entry = entries.find(name)
    weights = entry.weights
    if suffix in convert.SUFFIXES:
        own = convert.layout(name, suffix) == (weights or entry).converter
    else:
        own = weights and weights.on_demand  # a network of the stores, if not
    return entry.preprocessing if own else IMAGENET


def _from_store(name: str) -> Path:
    from gluoncv.model_zoo import model_store as gluoncv_store
    from mxnet.gluon.model_zoo import model_store

    for store in (model_store, gluoncv_store):
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # the stores print every attempt
                return Path(store.get_model_file(name))
        except Exception as error:  # unknown name, no network, wrong checksum: each store has its own errors
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    first, *others = (entry.name for entry in entries.WEIGHTS.values() if entry.weights.package)
    weights = entries.find(name).weights
    ways = f" ./get_data.sh {weights.name} fetches them from another host;" if weights else ""
    raise UserError(
        f"no pretrained parameters for {name}: the Gluon model store cannot be reached ({reason[:80]});{ways}"
        f" give a file with --params, or use a --model whose parameters a package ships: ./get_data.sh {first}"
        f" (also {', '.join(others)}), or one of torchvision's or Keras's: ./get_data.sh --list"
    )
