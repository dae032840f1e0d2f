"""Silence for libraries that write pages to the terminal."""

from __future__ import annotations

import contextlib
import os
import warnings


@contextlib.contextmanager
def quiet():
    """Without the pages that the exporters write to standard output and error, from Python and from C++."""
    with warnings.catch_warnings(), contextlib.ExitStack() as stack, open(os.devnull, "w") as nowhere:
        warnings.simplefilter("ignore")
        for stream in (1, 2):
            kept = os.dup(stream)
            stack.callback(os.close, kept)
            stack.callback(os.dup2, kept, stream)
            os.dup2(nowhere.fileno(), stream)
        yield
