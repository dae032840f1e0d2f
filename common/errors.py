"""Errors that are the user's to mend: shown as one line, without a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Wrong use or bad input.

    The message is one line that names the file, row or flag and says what to do;
    `common.cli.launch` prints it as ``error: ...`` and ends with status 2.
    """


def near(word: str, choices: Iterable[str], n: int = 3) -> str:
    """Return ``" (did you mean a, b?)"`` with the names closest to `word`, or ``""`` when none is close."""
    by_lower = {choice.lower(): choice for choice in choices}
    found = difflib.get_close_matches(word.lower(), by_lower, n=n, cutoff=0.6)
    return f" (did you mean {', '.join(by_lower[name] for name in found)}?)" if found else ""
