"""A trained network as Gluon's own symbol and parameters."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import mxnet as mx
from mxnet.gluon import HybridBlock

from common.files.disk import flush, with_folder, writing


def write(net: HybridBlock, path, shape: tuple[int, ...], dtype: str = "uint8") -> tuple[Path, Path]:
    """Write `net` as ``PATH-symbol.json`` and ``PATH-0000.params``, which `mx.gluon.SymbolBlock.imports` reads.

    Parameters
    ----------
    net : HybridBlock
        With values.
    path : path
        Without a suffix. Its folder is made where it is not there.
    shape : tuple of int
        Of an input batch, for instance (1, 224, 224, 3): the written network takes any number of pictures of that size.
    dtype : str
        Of the input.

    Returns
    -------
    symbol, parameters : Path

    Raises
    ------
    UserError
        The files cannot be written; older ones of that name are kept.
    """
    path = Path(path)
    net.hybridize()
    net(mx.nd.zeros(shape, dtype=dtype, ctx=_context(net)))
    written = path.with_name(f"{path.name}-symbol.json"), path.with_name(f"{path.name}-0000.params")
    with writing(with_folder(path)):
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as folder:
            made = [Path(folder) / file.name for file in written]
            net.export(str(Path(folder) / path.name))
            for file, read in zip(made, (mx.sym.load, mx.nd.load)):
                read(str(file))  # MXNet does not report a write that a full disk cut short
                flush(file)
            for file, target in zip(made, written):
                os.replace(file, target)
        flush(path.parent)
    return written


def _context(net: HybridBlock) -> mx.Context:
    return next(iter(net.collect_params().values())).list_ctx()[0]
