"""A folder of files as a commit of a repository has it: one checksum over all of them, whatever archive it came in."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from common.files import unpack
from common.files.checksum import sha256
from common.files.disk import supersede
from common.files.errors import UserError
from common.files.sources import Tree


def digest(root: Path, names: Sequence[str]) -> tuple[int, str]:
    """How many files there are, and the SHA-256 of the lines ``PATH<TAB>SHA-256`` of all, in the order of their paths.

    Parameters
    ----------
    root : Path
    names : sequence of str
        Files and folders in `root` that count; all in a folder does.

    Returns
    -------
    count : int
    sum : str
        Hexadecimal digits.
    """
    paths = [root / name for name in names]
    files = [path for path in paths if path.is_file()]
    files += [path for folder in paths for path in folder.rglob("*") if not path.is_dir()]
    lines = sorted(f"{path.relative_to(root).as_posix()}\t{sha256(path)}\n" for path in files)
    return len(lines), hashlib.sha256("".join(lines).encode()).hexdigest()


def find(folder: Path, tree: Tree) -> Path | None:
    """`folder` or its only subfolder, whichever has all of the tree's names; None where neither has.

    Parameters
    ----------
    folder : Path
        Archives made by a host have one folder on top, named after the commit; those of ``git archive`` have none.
    tree : common.files.sources.Tree
    """
    inner = [child for child in folder.iterdir() if child.is_dir()] if folder.is_dir() else []
    tops = [folder, *inner] if len(inner) == 1 else [folder]
    return next((top for top in tops if all((top / name).exists() for name in tree.names)), None)


def land(name: str, tree: Tree, folder: Path, given: Path | None, fetch: Callable[[], Path]) -> None:
    """Put the tree into `folder`: verified in a temporary folder beside it, and then renamed.

    Parameters
    ----------
    name : str
        What ``./get_data.sh`` calls it, for messages.
    tree : common.files.sources.Tree
    folder : Path
        An existing folder.
    given : Path or None
        An archive of the tree or an unpacked folder of it, instead of what `fetch` gives.
    fetch : function without arguments
        Gives an archive, which is removed then.

    Raises
    ------
    UserError
        It cannot be had, or its files are not those that were published.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix=".tree-") as temporary:
        temporary = Path(temporary)
        if given and given.is_dir():
            _copy(find(given, tree), tree, temporary)
        else:
            archive = given or fetch()
            try:
                unpack.extract(archive, temporary)
            finally:
                if not given:
                    archive.unlink()
        root = find(temporary, tree)
        origin = given or "what was fetched"
        if root is None:
            raise UserError(f"{name}: {origin} holds no {' and '.join(tree.names)}: get it again")
        count, found = digest(root, tree.names)
        if count != tree.count:
            raise UserError(f"{name}: {origin} has {count} files instead of {tree.count}: it is not used, get it again")
        if found != tree.sum:
            raise UserError(
                f"{name}: a file of {origin} is not as it was published (SHA-256 of all {found[:12]}... instead of"
                f" {tree.sum[:12]}...): it is not used, get it again"
            )
        for child in tree.names:  # the last one says that the set is complete
            supersede(root / child, folder / child)


def _copy(root: Path, tree: Tree, folder: Path) -> None:
    try:
        for name in tree.names:
            if (root / name).is_dir():
                shutil.copytree(root / name, folder / name, copy_function=shutil.copyfile)
            else:
                shutil.copyfile(root / name, folder / name)
    except OSError as error:  # of many files, a list of them
        reason = str(error.strerror or error).splitlines()[0][:100]
        raise UserError(f"{root} cannot be copied: {reason}") from error
