"""The fastest way to read a network: onnxruntime, through the suite's own exporter, where it agrees with MXNet."""

from __future__ import annotations

import argparse
import functools
import math
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import mxnet as mx
import numpy as np
from mxnet.gluon import Block

import common
from common import devices
from common.backbones import modelfile
from common.export import onnx, quick
from common.files.disk import atomic, with_folder
from common.files.errors import UserError
from common.files.paths import weights_dir

TOLERANCE = 1e-4  # of the largest number: how far apart the engines may be
HELD = "_read_by_onnxruntime"  # the attribute of a network under which it holds what was loaded of it
PIXELS = 224**2  # for each thread that are read at a time
PAYS = 100 * 224**2  # pixels to be read from which on the export, which takes as long as reading these, is worth while


def choose(args: argparse.Namespace, net: Block | Callable, side: int, pictures: int) -> str:
    """The engine that a run reads a network with, for its ``args.json``: a resumed run takes the same.

    Parameters
    ----------
    args : argparse.Namespace
        With ``engine``, ``gpus`` and, where the program has them, ``int8`` and ``resume``.
    net, side
        See `onnxruntime`.
    pictures : int
        To be read, over all data, so that another split of it makes no difference; 0: the network is trained.

    Returns
    -------
    {"mxnet", "onnxruntime"}
        ``auto`` becomes the latter on the CPU in float32, where there is enough to read and the network can be
        exported, which is said otherwise. A run of before there was a choice goes on with MXNet.

    Raises
    ------
    UserError
        onnxruntime was asked for, and is not for this.
    """
    elsewhere = bool(args.gpus or getattr(args, "int8", False))
    if args.engine == "onnxruntime" and elsewhere:
        raise UserError("--engine onnxruntime reads in float32 on the CPU: leave out --gpus and --int8")
    if args.engine == "onnxruntime" and not pictures:
        raise UserError("--engine onnxruntime reads networks that are not trained, and this one is: leave it out")
    if args.engine != "auto":
        return args.engine
    if elsewhere or getattr(args, "resume", False) or not pictures or pictures * side**2 < PAYS:
        return "mxnet"
    try:
        onnxruntime(net, side)
    except UserError as error:
        print(f"note: {error}", file=sys.stderr)
        return "mxnet"
    return "onnxruntime"


def reader(args: argparse.Namespace, net: Block | Callable, side: int, pictures: int) -> Callable:
    """What reads a network for a program that trains nothing: the network itself, or what onnxruntime loaded of it.

    Parameters
    ----------
    args, net, side, pictures
        See `choose`; infinity is as many pictures as will be asked for.

    Returns
    -------
    callable
        Takes and gives what `net` does.
    """
    found = named(choose(args, net, side, pictures))
    return found(net, side) if found else net


def named(name: str) -> Callable | None:
    """The engine called `name` for `common.backbones.features`: `onnxruntime`, or None for MXNet."""
    return {"mxnet": None, "onnxruntime": onnxruntime}[name]


def onnxruntime(net: Block | Callable, side: int) -> Callable:
    """A network as it is now, read by onnxruntime on the CPU, with as many threads as MXNet would take.

    The exported graph, rewritten by `common.export.quick`, is kept beside the pretrained weights, by network, weights
    and version. Whenever it is loaded, what it gives for two pictures is compared with what MXNet gives, so that one
    that is damaged is made again. It is loaded once: a network holds what was last loaded of it, and gives that as long
    as it is the same network.

    Parameters
    ----------
    net : Block, or a method of one
        From pictures (n, side, side, 3) to rows of numbers, with values on the CPU.
    side : int
        Of the pictures, in pixels.

    Returns
    -------
    callable
        Takes and gives `mxnet.nd.NDArray` as `net` does.

    Raises
    ------
    UserError
        The network cannot be exported, or the engines do not agree.
    """
    block, wanted = getattr(net, "__self__", net), (_name(net, side), devices.threads())
    held, loaded = getattr(block, HELD, (None, None))
    if held != wanted:
        loaded = _loaded(net, side, wanted[0])
        setattr(block, HELD, (wanted, loaded))
    return loaded


def _loaded(net: Block | Callable, side: int, name: str) -> Callable:
    import onnx as package

    kept = weights_dir() / "onnx" / name
    found = _load(kept) if kept.is_file() else None
    if found and _agree(found, net, side):
        return found
    with tempfile.TemporaryDirectory() as folder:
        try:
            file = onnx.write(net, Path(folder) / "net.onnx", (1, side, side, 3))
            model = package.load(str(file))
            quick.rewrite(model)
            package.save(model, str(file))
        except Exception as error:  # of an operator that ONNX has not: the exporter has many
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:100]
            raise UserError(f"onnxruntime cannot read this network ({reason}): --engine mxnet does") from error
        found = _load(file)
        if not found or not _agree(found, net, side):
            raise UserError("onnxruntime gives other numbers for this network than MXNet: take --engine mxnet")
        _keep(file, kept)
    return found


def _name(net: Block | Callable, side: int) -> str:
    """The file's name: a hash of all that decides what is in it."""
    import onnx as package

    block, method = getattr(net, "__self__", net), getattr(net, "__name__", "")
    versions = common.__version__, mx.__version__, package.__version__, quick.FORM
    found = modelfile.digest(block, f"{versions} {type(block).__qualname__} {method} {side}")
    return f"{getattr(block, 'name_', type(block).__name__)}-{side}-{found[:16]}.onnx"


def _load(file: Path) -> Callable | None:
    """What runs the network in `file`; None where it is damaged."""
    import onnxruntime as runtime

    options = runtime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = devices.threads()
    try:
        session = runtime.InferenceSession(file.read_bytes(), options, providers=["CPUExecutionProvider"])
    except Exception:  # it has many
        return None
    return functools.partial(_read, session)


def _read(session, pictures: mx.nd.NDArray) -> mx.nd.NDArray:
    """What onnxruntime gives for pictures: for so many at a time that their maps stay in the processor's caches."""
    seen = devices.seen(pictures)
    piece = max(1, PIXELS * (devices.threads() or os.cpu_count()) // math.prod(seen.shape[1:3]))
    rows = [session.run(None, {"data": seen[i : i + piece]})[0] for i in range(0, len(seen), piece)]
    return mx.nd.from_numpy(rows[0] if len(rows) == 1 else np.concatenate(rows))


def _agree(found: Callable, net: Block | Callable, side: int) -> bool:
    """Whether two networks give the same for two pictures, smooth and noisy, of random colours."""
    rng = np.random.default_rng(0)
    noise, colours = rng.integers(0, 256, (1, side, side, 3)), rng.integers(0, 256, (1, 4, 4, 3))
    smooth = colours.repeat(-(-side // 4), 1).repeat(-(-side // 4), 2)[:, :side, :side]
    pictures = devices.put(np.concatenate([noise, smooth]).astype(np.uint8))
    ours, theirs = found(pictures).asnumpy(), net(pictures).asnumpy()
    return ours.shape == theirs.shape and bool(np.abs(ours - theirs).max() <= TOLERANCE * np.abs(theirs).max())


def _keep(file: Path, target: Path) -> None:
    try:
        with atomic(with_folder(target)) as beside:
            shutil.copyfile(file, beside)
    except UserError as error:  # it serves all the same, this time
        print(f"note: {error}", file=sys.stderr)
