"""Fetch data sets, word vectors and pretrained parameters by name: ``./get_data.sh``."""

from __future__ import annotations

import argparse
import functools
import os
import re
from pathlib import Path

from common import cli
from common.backbones.entries import WEIGHTS
from common.files import fetch
from common.files.disk import supersede
from common.files.errors import UserError, near
from common.files.paths import data_root
from common.files.sources import SOURCES, Source


def every_source() -> dict[str, Source]:
    """All that can be fetched, by name: data sets and word vectors, then the parameters of networks."""
    return {**SOURCES, **{name: entry.source for name, entry in WEIGHTS.items()}}


def ensure(name: str, root=None, mirror: str | None = None, folder=None) -> Path:
    """Have the thing called `name`, fetched and made ready if it is not there.

    Parameters
    ----------
    name : str
        A key of `every_source`.
    root : path, optional
        Instead of ``data/``.
    mirror : str, optional
        A folder or address tried before the official one, holding files of the same names.
    folder : path, optional
        The very folder it is to lie in, instead of one under `root`.

    Returns
    -------
    Path
        The folder it lies in.

    Raises
    ------
    UserError
        It cannot be had; the message says which address failed and how to go around it.
    """
    known = every_source()
    if name not in known:
        raise UserError(f"nothing to get is called {name!r}{near(name, known)}; ./get_data.sh --list shows all")
    source = known[name]
    folder = Path(folder) if folder else Path(root or data_root()) / source.folder
    if name in WEIGHTS:
        from common.backbones import pretrained  # MXNet: --list and --help do without

        return pretrained.ensure(WEIGHTS[name].name, folder, mirror)
    make = functools.partial(_make_emoji, name, source, folder) if source.npm else None
    return fetch.ensure(name, source, folder, mirror, make)


def _make_emoji(name: str, source: Source, folder: Path, archives: list[Path]) -> None:
    """Make the emoji data set in `folder` out of the archives of its npm packages."""
    from common.data.sets import make_emoji

    packages = {package.rsplit("@", 1)[0]: archive for package, archive in zip(source.npm, archives)}
    made = archives[0].parent / "made"
    made.mkdir()
    artists = make_emoji.make(packages, made)
    # last the file whose presence says that the set is complete
    for child in sorted(made.iterdir(), key=lambda child: child.name == source.check):
        supersede(child, folder / child.name)
    if len(artists) < len(make_emoji.ARTISTS):
        print(f"{name}: no cairo library here to draw OpenMoji's SVG: made of {', '.join(artists)} alone")


def listing() -> str:
    """A table of all sources; of parameters with the ``--model`` that they are of."""
    rows = [("name", "--model", "size", "checksum", "licence or terms", "from", "goes to")]
    for name, s in every_source().items():
        network = WEIGHTS[name].name if name in WEIGHTS else "-"
        rows.append((name, network, s.size, s.checksum, s.terms, s.host, f"data/{s.folder}"))
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths)).rstrip() for row in rows)


class _Listing(argparse.Action):
    """Shows the list and ends, as ``--help`` does: it needs none of the packages either."""

    def __call__(self, parser, *_):
        print(listing())
        parser.exit()


def parse_args(argv=None) -> argparse.Namespace:
    """The flags of ``get_data.sh``."""
    p = cli.parser("Fetch data sets and pretrained weights by name.")
    p.prog = "get_data.sh"
    p.add_argument("names", nargs="*", metavar="NAME", help="what to get; see --list")
    p.add_argument(
        "--list", action=_Listing, nargs=0, help="show name, size, checksum, licence or terms, and where it goes"
    )
    p.add_argument("--dir", metavar="DIR", help="put everything under DIR instead of data/")
    p.add_argument(
        "--mirror", metavar="DIR_OR_URL",
        help="a folder or address tried first, with the same file names; of grocery also an archive or its folder",
    )  # fmt: skip
    args = p.parse_args(argv)
    if not args.names:
        p.error("name what to get, or --list")
    return args


def main(args: argparse.Namespace) -> None:
    """Get every name asked for.

    Raises
    ------
    UserError
        A name is unknown, or what it stands for cannot be had.
    """
    known = every_source()
    unknown = [name for name in args.names if name not in known]
    if unknown:
        raise UserError(f"nothing to get is called {unknown[0]!r}{near(unknown[0], known)}; --list shows all")
    for name in args.names:
        folder = ensure(name, args.dir, args.mirror)
        print(f"{name}: {re.sub(f'^{re.escape(os.getcwd())}/', '', str(folder))}")


if __name__ == "__main__":
    cli.launch(main, parse_args)
