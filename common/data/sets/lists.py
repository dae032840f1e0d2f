"""The text files that official sets list their pictures in."""

from __future__ import annotations

from pathlib import Path

from common.files.errors import UserError


def table(path: Path) -> list[list[str]]:
    """The words of each line that has some.

    Raises
    ------
    UserError
        The file is not there.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    return [line.split() for line in lines if line.strip()]


def check_labels(root: Path, labels, classes: int) -> None:
    """Refuse labels that no class has.

    Parameters
    ----------
    root : Path
        Of the set, for the message.
    labels : (n,) int
    classes : int
        How many there are.

    Raises
    ------
    UserError
        A label is not 0 to `classes` - 1, or there is none.
    """
    if not len(labels) or min(labels) < 0 or max(labels) >= classes:
        span = f"{min(labels) + 1} to {max(labels) + 1}" if len(labels) else "none"
        raise UserError(f"{root}: pictures of classes {span}, names of {classes}: get the set again")
