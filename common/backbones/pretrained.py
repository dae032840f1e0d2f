"""Where pretrained parameters come from, and the preprocessing that belongs to them."""

from __future__ import annotations

import contextlib
import dataclasses
import io
from pathlib import Path

from common.backbones.preprocessing import CAFFE, IMAGENET, LITE, TF, Preprocessing
from common.files import outside
from common.files.errors import UserError, reading
from common.files.paths import weights_dir
from common.files.sources import SOURCES

PACKAGED = {  # networks whose parameters a package registry ships: see common.files.sources
    "squeezenet1.1": CAFFE,
    "efficientnet_lite0": LITE,
    "efficientnet_lite1": dataclasses.replace(LITE, size=240),
    "efficientnet_lite2": dataclasses.replace(LITE, size=260),
}
KERAS = {  # each network's own preprocessing in keras.applications
    **{f"keras-{name}": CAFFE for name in ("vgg16", "vgg19", "resnet50")},
    "keras-mobilenet": TF,
    **{f"keras-{name}": dataclasses.replace(TF, size=299) for name in ("xception", "inceptionv3", "inceptionresnetv2")},
}


@dataclasses.dataclass(frozen=True)
class Found:
    """A file of parameters, what belongs to it, and where it came from."""

    path: Path
    preprocessing: Preprocessing
    source: str


def find(name: str, weights: str) -> Found:
    """The parameters of network `name`.

    Parameters
    ----------
    name : str
        See `common.backbones.names`.
    weights : str
        ``"imagenet"``: from the cache, the package that ships them, or the Gluon model store, in this order.
        Otherwise a file: ``.params``, Keras's ``.h5``, or ``.pth`` or ``.safetensors`` of torchvision. A ``.json``
        beside it may hold its preprocessing.

    Raises
    ------
    UserError
        They cannot be had; the message names the command that gets them.
    """
    if weights != "imagenet":
        path = Path(weights)
        if not path.is_file():
            raise UserError(f"--params {path}: no such file")
        return Found(path, _beside(path) or _own(name, path), f"file {path.name}")
    path = weights_dir() / f"{name}.params"
    if not path.is_file() and (name in PACKAGED or name in KERAS):
        from common.files import fetch

        fetch.ensure(name)
    if path.is_file():
        return Found(path, _beside(path) or _own(name, path), f"ImageNet, {path.name}")
    return Found(_from_store(name), IMAGENET, "ImageNet, Gluon model store")


def _own(name: str, path: Path) -> Preprocessing:
    """What belongs to network `name`; torchvision's files of a network that is also packaged want torchvision's."""
    if path.suffix in (".pth", ".safetensors") and not name.startswith("efficientnet_lite"):
        return IMAGENET
    return KERAS.get(name) or PACKAGED.get(name, IMAGENET)


def save_beside(path: Path, preprocessing: Preprocessing) -> None:
    """Keep `preprocessing` in a ``.json`` beside a ``.params`` file."""
    from common.files.disk import write_json

    write_json(path.with_suffix(".json"), preprocessing.to_dict())


def _beside(path: Path) -> Preprocessing | None:
    file = path.with_suffix(".json")
    if not file.is_file():
        return None
    remedy = f"it says what belongs to {path.name}; write it anew, or take it away"
    with reading(file, remedy):
        card = outside.read_json(file, remedy)
        return Preprocessing.from_dict(card) if "mean" in card and "scale" in card else None


def _from_store(name: str) -> Path:
    from gluoncv.model_zoo import model_store as gluoncv_store
    from mxnet.gluon.model_zoo import model_store

    for store in (model_store, gluoncv_store):
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # the stores tell of each attempt on it
                return Path(store.get_model_file(name))
        except Exception as error:  # unknown name, no network, wrong checksum: each store has its own errors
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    shipped, (first, *_) = ", ".join(PACKAGED), PACKAGED
    other = [key for key, source in SOURCES.items() if source.convert == name]
    ways = f" ./get_data.sh {other[0]} fetches them from another host;" if other else ""
    raise UserError(
        f"no pretrained parameters for {name}: the Gluon model store cannot be reached ({reason[:80]});{ways}"
        f" give a file with --params, or use a --model whose parameters a package ships: ./get_data.sh {first}"
        f" (also {shipped.split(', ', 1)[1]}), or one of torchvision's or Keras's: ./get_data.sh --list"
    )
