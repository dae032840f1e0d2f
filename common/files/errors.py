"""Errors that are the user's to mend: shown as one line, without a traceback."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterable, Iterator


class UserError(Exception):
    """Wrong use or bad input.

    The message is one line that names the file, row or flag and says what to do;
    `common.cli.launch` prints it as ``error: ...`` and ends with status 2.
    """


@contextlib.contextmanager
def reading(file, remedy: str) -> Iterator[None]:
    """Around the parsing of a file from outside: whatever goes wrong becomes a `UserError` that names `file`.

    Parameters
    ----------
    file : path
    remedy : str
        What to do about it.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # each format's reader has its own
        reason = str(getattr(error, "strerror", None) or error).strip() or type(error).__name__
        reason = reason.splitlines()[0][:100]
        raise UserError(f"{file} is not as it should be ({reason}): {remedy}") from error


def near(word: str, choices: Iterable[str], n: int = 3) -> str:
    """Return ``" (did you mean a, b?)"`` with the names closest to `word`, or ``""`` when none is close.

    Parameters
    ----------
    word : str
    choices : iterable of str
    n : int
        How many names at most.
    """
    by_lower = {choice.lower(): choice for choice in choices}
    found = difflib.get_close_matches(word.lower(), by_lower, n=n, cutoff=0.6)
    return f" (did you mean {', '.join(by_lower[name] for name in found)}?)" if found else ""
