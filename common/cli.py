"""The command line that the examples share. Imports nothing slow, so that ``--help`` and wrong flags answer at once."""

from __future__ import annotations

import argparse
import atexit
import contextlib
import errno
import io
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence

from common import handover
from common.files.errors import UserError, near
from common.files.paths import data_root

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
LARGEST = 1e6  # of rates, factors and margins: float32 overflows soon after
OPTIMIZERS = (  # MXNet's, but for the one that takes matrices alone
    "adadelta", "adagrad", "adam", "adamax", "dcasgd", "ftml", "ftrl", "lamb", "lars", "lbsgd", "nadam", "nag",
    "rmsprop", "sgd", "sgld", "signum",
)  # fmt: skip
ON_ERROR = ("stop", "skip")
KVSTORES = ("local", "device", "nccl", "dist_sync", "dist_device_sync", "dist_async")


class _HelpFormatter(argparse.HelpFormatter):
    """Ends each flag's help with its default, where it has one to show."""

    def _get_help_string(self, action):
        text = action.help or ""
        default = action.default
        hidden = default is None or default is False or default is argparse.SUPPRESS or "default" in text
        if action.option_strings and not hidden:
            shown = ",".join(map(str, default)) if isinstance(default, (list, tuple)) else default
            text += f" (default: {shown if str(shown) else 'empty'})".replace("%", "%%")
        return text


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        self.exit(2, f"error: {message}; see --help\n")


def parser(description: str) -> argparse.ArgumentParser:
    """A parser whose ``--help`` shows every default and whose complaints are one line, status 2.

    Parameters
    ----------
    description : str
        Usually the script's ``__doc__``; its first line is shown.
    """
    return _Parser(
        description=description.strip().splitlines()[0],
        formatter_class=_HelpFormatter,
        allow_abbrev=False,
    )


def add_shared(
    p: argparse.ArgumentParser,
    example: str,
    *,
    dataset: str,
    datasets: Sequence[str],
    model: str,
    seed: int = 123,
    int8: bool = False,
    skip: Sequence[str] = (),
) -> None:
    """Add the flags that mean the same in every example.

    Parameters
    ----------
    example : str
        The example's folder name; runs are kept under ``runs/<example>/``.
    dataset, datasets
        The default data set and all that this example knows.
    model : str
        Default network, see ``common.backbones.list_backbones()``.
    int8 : bool
        Add ``--int8`` too, where features are only read.
    skip : sequence of str
        Flags that the example defines in its own way, such as ``"--resume"``.
    """

    def add(flag, **options):
        if flag not in skip:
            p.add_argument(flag, **options)

    add("--dataset", default=dataset, choices=datasets, metavar="NAME", help=f"data set: {', '.join(datasets)}")
    add("--data-path", metavar="DIR", help=f"folder of the data; default is {_shown(data_root())}/DATASET")
    add("--model", default=model, metavar="NAME", help="network; a wrong name lists the near ones")
    add("--params", metavar="FILE", help="parameters for the network, instead of those --use-pretrained finds")
    add("--run-dir", metavar="DIR", help=f"folder of this run; default is runs/{example}/DATASET-NUMBER")
    add("--resume", action="store_true", help="continue the run in --run-dir (or the newest) from its last checkpoint")
    add(
        "--on-error",
        default="stop",
        choices=ON_ERROR,
        help="a picture that cannot be read: stop, or skip it (all are read before), listed in skipped.txt",
    )
    add("--num-workers", type=threads, default=2, metavar="N", help="threads that decode pictures ahead")
    add("--gpus", type=int_list, default=[], metavar="LIST", help="GPUs to use, e.g. 0 or 0,2,5; empty means CPU")
    add(
        "--num-cpus",
        type=whole(1, 64),
        default=1,
        metavar="N",
        help="CPU contexts that stand for devices when --gpus is empty",
    )
    add("--kvstore", default="device", choices=KVSTORES, metavar="NAME", help=f"sums gradients: {', '.join(KVSTORES)}")
    add("--seed", type=seed_number, default=seed, metavar="N", help="random seed")
    if int8:
        add("--int8", action="store_true", help="read features with the network quantised to 8 bits")


def _shown(path) -> str:
    """`path` as a user in the working folder would write it."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def launch(main: Callable, parse_args: Callable) -> None:
    """Run a script's `main` and turn its end into an exit status.

    0 done; 2 with one line ``error: ...`` on stderr for a `UserError` and for a full or read-only disk; 130 on Ctrl-C,
    when the checkpoints written so far are whole, since each is renamed into place; 141 without a word when whoever
    reads the output has had enough (``| head``). An interpreter that lacks the packages is left for the one of
    ``make setup`` before `main` begins: see `common.handover`.
    """
    for stream in (sys.stdout, sys.stderr):  # a terminal that cannot show a class's name is no reason to stop
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            args = parse_args()
            handover.to_the_packages()
            main(args)
        finally:
            # While the interpreter ends, Ctrl-C ends it as the system does: a traceback out of there helps nobody.
            atexit.register(signal.signal, signal.SIGINT, signal.SIG_DFL)
            print(end="", flush=True)
    except UserError as error:
        _end(2, f"error: {error}")
    except KeyboardInterrupt:
        _end(130, "stopped; a run with checkpoints continues with --resume")
    except BrokenPipeError:
        _end(141)
    except OSError as error:
        line = _refused(error)
        if not line:
            raise
        _end(2, f"error: {line}")


def _refused(error: OSError) -> str:
    """What to say when the system refuses to write or to load a library; "" for all other errors."""
    if error.errno in NO_ROOM:  # files are written through `common.files`, which says this; libraries write too
        return f"cannot write {error.filename or 'a file'}: {error.strerror}; free some space or give another place"
    library = re.match(r"(lib[\w.+-]+): cannot open shared object file", str(error))
    if library:
        remedy = "install it (Debian and Ubuntu: apt install libgomp1 libquadmath0 libgfortran5)"
        if library[1].startswith(("libcu", "libnv", "libnccl")):
            remedy = "install the libraries of CUDA 11.2, or take the CPU build (make setup)"
        return f"MXNet does not start, {library[1]} is not there: {remedy}"
    return ""


def _end(status: int, line: str = "") -> None:
    try:
        print(end="", flush=True)
    except OSError:  # nobody reads it, or it goes to the full disk: else the interpreter complains as it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if line:
        with contextlib.suppress(OSError):
            print(line, file=sys.stderr)
    sys.exit(status)


def int_list(text: str) -> list[int]:
    """``"0,2,5"`` -> ``[0, 2, 5]``; empty text gives an empty list."""
    return _list(whole(0, 10**9), text, "whole numbers with commas between, such as 0,2,5")


def float_list(text: str) -> list[float]:
    """``"0.1,0.2"`` -> ``[0.1, 0.2]``; empty text gives an empty list."""
    return _list(bounded, text, "numbers with commas between, such as 12,14.5")


def bounded(text: str) -> float:
    """A number that is one, and of no more than `LARGEST` either way."""
    value = float(text)
    if not abs(value) <= LARGEST:
        raise ValueError
    return value


def _list(kind, text: str, wanted: str) -> list:
    try:
        return [kind(part) for part in text.split(",") if part.strip()]
    except (ValueError, argparse.ArgumentTypeError):
        raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}") from None


def _number(kind, test, wanted: str) -> Callable:
    def convert(text):
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not test(value):
            raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}")
        return value

    return convert


def whole(least: int, most: int) -> Callable:
    """The type of a flag that takes whole numbers from `least` to `most`, both allowed."""
    return _number(int, lambda n: least <= n <= most, f"a whole number from {least} to {most}")


positive_int = whole(1, 10**9)
non_negative_int = whole(0, 10**9)
positive_float = _number(float, lambda x: 0 < x <= LARGEST, f"a number above 0, at most {LARGEST:g}")
non_negative_float = _number(float, lambda x: 0 <= x <= LARGEST, f"a number from 0 to {LARGEST:g}")
unit_float = _number(float, lambda x: 0 <= x <= 1, "a number from 0 to 1")
# What costs memory by its size: beyond these the machine gives up before the program can say why.
batch_size = whole(1, 100_000)
width = whole(1, 65_536)  # numbers in a vector
pixels = whole(8, 4096)  # a picture's side; networks pool smaller ones to nothing
threads = whole(0, 256)
port = whole(0, 65_535)
seed_number = whole(0, 2**31 - 1)


def stem(text: str) -> str:
    """A plain file name without its suffix, to be written into a folder that another flag names."""
    if not text.strip(". ") or any(letter in "/\\" or ord(letter) < 32 for letter in text) or len(text.encode()) > 200:
        raise argparse.ArgumentTypeError(f"{text[:60]!r} is not a plain file name: the folder goes to its own flag")
    return text


def one_of(names: Sequence[str]) -> Callable:
    """The type of a flag that takes one of `names` in any case; a wrong one lists the near ones."""

    def convert(text):
        if text.lower() not in names:
            raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(names)}{near(text, names)}")
        return text.lower()

    return convert
