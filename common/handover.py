"""From an interpreter without the packages to the one of `make setup`.

Nothing here is newer than CPython 3.6, so that old interpreters can read it as well.
"""

import os
import sys
from importlib import util

OLDEST = (3, 10)
VENV = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), ".venv")
ARRIVED = os.environ.pop("EMBEDDING_HANDED_OVER", "")  # by whom: nobody is handed over twice
NEEDED = ("numpy", "mxnet", "gluoncv", "scipy", "sklearn", "matplotlib", "cv2", "PIL", "faiss", "tqdm")


def from_an_old_interpreter():
    """Leave an interpreter that cannot read the rest of the suite."""
    if sys.version_info < OLDEST:
        _leave(" (CPython 3.10 or newer is needed, this is {}.{})".format(*sys.version_info))


def to_the_packages():
    """Leave an interpreter that lacks a package: the same command goes on in ``.venv``, in this process.

    Where there is no ``.venv``, one line says what makes it, with status 2.
    """
    if any(util.find_spec(name) is None for name in NEEDED):
        _leave()


def _leave(reason=""):
    python = os.path.join(VENV, "bin", "python")
    inside = ARRIVED or os.path.realpath(sys.prefix) == os.path.realpath(VENV)
    if os.path.exists(python) and not inside:
        print(end="", flush=True)
        # orig_argv keeps -m and the interpreter's own flags; CPython before 3.10 has it not, and is given a file.
        arguments = getattr(sys, "orig_argv", [sys.executable, *sys.argv])[1:]
        os.execve(python, [python, *arguments], dict(os.environ, EMBEDDING_HANDED_OVER=sys.executable))
    state = "the environment in .venv is not whole" if inside else "no environment yet"
    print(f"error: {state}: make setup{reason}", file=sys.stderr)
    sys.exit(2)
