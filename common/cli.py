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
from collections.abc import Callable, Mapping, Sequence

from common import handover
from common.files.errors import UserError, near

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
LARGEST = 1e6  # of rates, factors and margins: float32 overflows soon after
OPTIMIZERS = (  # MXNet's, but for the one that takes matrices alone, and `common.train.adamw`
    "adadelta", "adagrad", "adam", "adamax", "adamw", "dcasgd", "ftml", "ftrl", "lamb", "lars", "lbsgd", "nadam", "nag",
    "rmsprop", "sgd", "sgld", "signum",
)  # fmt: skip
KVSTORES = ("local", "device", "nccl", "dist_sync", "dist_device_sync", "dist_async")
REQUIRED = object()  # in the place of a default: the flag has to be given


class _HelpFormatter(argparse.HelpFormatter):
    """Ends each flag's help with its default, where it has one to show."""

    def _get_help_string(self, action):
        shown = _default(action)
        return (action.help or "") + (f" (default: {shown})".replace("%", "%%") if shown else "")


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        self.exit(2, f"error: {message}; see --help\n")


class Kind:
    """The type of a flag: what its value is read by, what ``--help`` calls that, and how argparse takes it.

    Parameters
    ----------
    read : callable (str) -> value, optional
        Raises `argparse.ArgumentTypeError`; without it the value is the text.
    metavar : str or tuple of str, optional
        ``DIR``, ``FILE`` and ``WEIGHTS`` name a path, which `common.resume` finds again from another folder.
    **options
        For `argparse.ArgumentParser.add_argument`.
    """

    def __init__(self, read: Callable | None = None, metavar: str | tuple[str, ...] | None = None, **options):
        self.read, self.options = read, options
        if metavar:
            options["metavar"] = metavar

    def __call__(self, text: str):
        """The value of `text`."""
        return self.read(text) if self.read else text


class _SeveralNames(argparse.Action):
    """Refuses a flag that is given under two of its names with different values."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.namespace, self.given = None, {}  # the parse that goes on, and what it met

    def __call__(self, parser, namespace, values, option_string=None):
        if self.namespace is not namespace:
            self.namespace, self.given = namespace, {}
        for name, value in self.given.items():
            if name != option_string and value != values:
                raise argparse.ArgumentError(self, f"{name} {value} and {option_string} {values}: give one of them")
        self.given[option_string] = values
        setattr(namespace, self.dest, values)


class Alternatives(list):
    """Rows of flags that exclude each other.

    Parameters
    ----------
    rows : sequence of rows
        As in `parser`.
    required : bool
        One of them has to be given.
    """

    def __init__(self, rows: Sequence[tuple], required: bool = False):
        super().__init__(rows)
        self.required = required


def parser(description: str, flags: Mapping[str, Sequence] | None = None) -> argparse.ArgumentParser:
    """A parser whose ``--help`` shows every default and whose complaints are one line, status 2.

    Parameters
    ----------
    description : str
        Usually the script's ``__doc__``; its first line is shown.
    flags : mapping of str to sequence of rows, optional
        A heading of ``--help`` to its flags: (name, type, default, help), or `Alternatives` of such rows. A name is
        ``--flag``, several names of one flag (its value is called by the longest), or that of a positional argument.
        The type is a `Kind`. A default of `REQUIRED` is none.

    Returns
    -------
    argparse.ArgumentParser
    """
    p = _Parser(
        description=description.strip().splitlines()[0],
        formatter_class=_HelpFormatter,
        allow_abbrev=False,
    )
    for title, rows in (flags or {}).items():
        group = p.add_argument_group(title)
        for row in rows:
            _add(group, row)
    return p


def _add(group, row: tuple | Alternatives) -> None:
    if isinstance(row, Alternatives):
        either = group.add_mutually_exclusive_group(required=row.required)
        for one in row:
            _add(either, one)
        return
    name, kind, default, text = row
    names, options = name.split(), dict(kind.options, help=text)
    if kind.read:
        options["type"] = kind
    if name.startswith("-"):
        options["dest"] = max(names, key=len).lstrip("-").replace("-", "_")
        options.update({"required": True} if default is REQUIRED else {"default": default})
    group.add_argument(*names, **options).help = text  # CPython before 3.13 adds the default of an `on_off` itself


def table(flags: Mapping[str, Sequence]) -> str:
    """The rows of `flags` as a Markdown table of flag, default and meaning, for a README."""
    lines = ["| flag | default | meaning |", "| --- | --- | --- |"]
    for group in parser("-", flags)._action_groups:
        actions = [action for action in group._group_actions if action.dest != "help"]
        lines += [f"| **{group.title}** | | |"] if actions else []
        for action in actions:
            flag = ", ".join(f"`{name}`" for name in action.option_strings)
            default = _default(action)
            meaning = (action.help % {"choices": ", ".join(map(str, action.choices or ()))}).replace("|", "\\|")
            lines.append(f"| {flag} | {f'`{default}`' if default not in ('', 'empty') else default} | {meaning} |")
    return "\n".join(lines)


def _default(action: argparse.Action) -> str:
    """The default of a flag as ``--help`` shows it; "" where its help says it, or there is none."""
    default = action.default
    hidden = default is None or default is False or default is argparse.SUPPRESS or "default" in (action.help or "")
    if not action.option_strings or hidden:
        return ""
    return shown(default) or "empty"


def shown(value) -> str:
    """The value of a flag as it is written."""
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def launch(main: Callable, parse_args: Callable) -> None:
    """Run a script's `main` and turn its end into an exit status.

    0 done; 2 with one line ``error: ...`` on stderr for a `UserError` and for a full or read-only disk; 130 on Ctrl-C,
    when the checkpoints written so far are whole, since each is renamed into place; 141 without a word when whoever
    reads the output has had enough (``| head``). An interpreter that lacks the packages is left for the one of
    ``make setup`` before `main` begins: see `common.handover`.

    Parameters
    ----------
    main : callable (argparse.Namespace)
    parse_args : callable () -> argparse.Namespace
    """
    for stream in (sys.stdout, sys.stderr):  # a terminal that cannot show a class's name is no reason to stop
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    args = None
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
        _end(130, "stopped; a run with checkpoints continues with --resume" if hasattr(args, "resume") else "stopped")
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


def bounded(text: str) -> float:
    """A number that is one, and of no more than `LARGEST` either way."""
    value = float(text)
    if not abs(value) <= LARGEST:
        raise ValueError
    return value


def _list(kind, wanted: str) -> Kind:
    def convert(text):
        try:
            return [kind(part) for part in text.split(",") if part.strip()]
        except (ValueError, argparse.ArgumentTypeError):
            raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}") from None

    return Kind(convert, "LIST")


def number(kind: Callable, test: Callable, wanted: str, metavar: str) -> Kind:
    """The type of a flag that takes numbers.

    Parameters
    ----------
    kind : callable (str) -> number
    test : callable (number) -> bool
        Whether the flag takes it.
    wanted : str
        What is said of any other: "is not `wanted`".
    metavar : str
        What ``--help`` calls the number.
    """

    def convert(text):
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not test(value):
            raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}")
        return value

    return Kind(convert, metavar)


def whole(low: int, high: int, metavar: str = "N") -> Kind:
    """The type of a flag that takes whole numbers from `low` to `high`, both allowed.

    Parameters
    ----------
    low, high : int
    metavar : str
        What ``--help`` calls the number.
    """
    return number(int, lambda n: low <= n <= high, f"a whole number from {low} to {high}", metavar)


def _above_0(metavar: str) -> Kind:
    return number(float, lambda x: 0 < x <= LARGEST, f"a number above 0, at most {LARGEST:g}", metavar)


def _from_0(metavar: str) -> Kind:
    return number(float, lambda x: 0 <= x <= LARGEST, f"a number from 0 to {LARGEST:g}", metavar)


def _plain_name(text: str) -> str:
    if not text.strip(". ") or any(letter in "/\\" or ord(letter) < 32 for letter in text) or len(text.encode()) > 200:
        raise argparse.ArgumentTypeError(f"{text[:60]!r} is not a plain file name: the folder goes to its own flag")
    return text


positive_int = whole(1, 10**9)
non_negative_int = whole(0, 10**9)
positive_float, rate = _above_0("X"), _above_0("RATE")
non_negative_float, rate_or_0, degrees = _from_0("X"), _from_0("RATE"), _from_0("DEGREES")
any_float = number(float, lambda x: abs(x) <= LARGEST, f"a number from -{LARGEST:g} to {LARGEST:g}", "X")
unit_float = number(float, lambda x: 0 <= x <= 1, "a number from 0 to 1", "X")
int_list = _list(whole(0, 10**9), "whole numbers with commas between, such as 0,2,5")
float_list = _list(bounded, "numbers with commas between, such as 12,14.5")
# What costs memory by its size: beyond these the machine gives up before the program can say why.
batch_size = whole(1, 100_000)
width = whole(1, 65_536)  # numbers in a vector
pixels = whole(8, 4096, "PIXELS")  # a picture's side; networks pool smaller ones to nothing
_inner = number(float, lambda x: 0 < x < 1, "a number between 0 and 1", "X")
shares = _list(_inner, "numbers between 0 and 1 with commas between, such as 0.75,0.5")
pixels_list = _list(pixels, "sides of 8 to 4096 pixels with commas between, such as 160,224")
threads = whole(0, 256)
port = whole(0, 65_535)
seed_number = whole(0, 2**31 - 1)
stem = Kind(_plain_name, "NAME")  # a file without its suffix, to be written into a folder that another flag names
NAME, CLASS, DIR, FILE, PATH = (Kind(metavar=name) for name in ("NAME", "CLASS", "DIR", "FILE", "PATH"))
WEIGHTS = Kind(metavar="WEIGHTS", action=_SeveralNames)  # a file, or one of some words
switch = Kind(action="store_true")  # off, unless it is given
on_off = Kind(action=argparse.BooleanOptionalAction)  # has a form that begins with --no-


def one_of(names: Sequence[str]) -> Kind:
    """The type of a flag that takes one of `names` in any case; a wrong one lists the near ones."""

    def convert(text):
        if text.lower() not in names:
            raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(names)}{near(text, names)}")
        return text.lower()

    return Kind(convert, "NAME")


def choice(*names: str, metavar: str | None = None) -> Kind:
    """The type of a flag that takes one of `names`, which ``%(choices)s`` lists in its help.

    Parameters
    ----------
    *names : str
    metavar : str, optional
        What ``--help`` shows in the place of all names.
    """
    return Kind(None, metavar, choices=names)


def many(kind: Kind, nargs: str = "+") -> Kind:
    """The type of a flag that takes several values of `kind`.

    Parameters
    ----------
    kind : Kind
    nargs : {"+", "*"}
        At least one, or any number.
    """
    return Kind(kind.read, **{**kind.options, "nargs": nargs})


# Flags that mean the same wherever they are.
USUAL_PATH = "default is data/DATASET, or DATASET in $EMBEDDING_DATA"
DATA_PATH = ("--data-path", DIR, None, f"folder of the data, or records of common.pack; {USUAL_PATH}")
COLUMNS = ("--columns", many(Kind(metavar="NAME=HEADER")), [], "csv: other headers, such as path=file label=product")
CLASS_DEPTH = (
    "--class-depth", whole(1, 100), None, "folders down that name a class; default is to the first with pictures",
)  # fmt: skip
OWN = [  # of the user's own pictures
    COLUMNS,
    CLASS_DEPTH,
    ("--min-per-class", non_negative_int, 0, "folder, csv: classes with fewer pictures are left out"),
]
PICTURES = [
    ("--data-path", DIR, None, f"folder of the data, of csv the table, or records of common.pack; {USUAL_PATH}"), *OWN,
]  # fmt: skip
BALANCE = ("--balance", switch, False, "all classes count alike, however many pictures each has")
PARAMS = ("--params", FILE, None, "parameters for the network, instead of those --use-pretrained finds")
USE_PRETRAINED = ("--use-pretrained", switch, False, "start from ImageNet parameters")
FREEZE_BATCH_NORM = ("--freeze-batch-norm", switch, False, "keep the backbone's batch norms, scales and statistics")
IMAGE_SIZE = ("--image-size", pixels, None, "side of what the network sees; default is the network's own, such as 224")
RESIZE = ("--resize", pixels, None, "side before the crop; default is 8/7 of --image-size (256 for 224)")
KEEP_ASPECT = ("--keep-aspect", switch, False, "resize the shorter side; default squeezes to a square")
VIEWS = ("--views", shares, [], "mean features of a picture and of its middles, of such shares of its sides: 0.75,0.5")
INT8 = ("--int8", switch, False, "read features with the network quantised to 8 bits")
RESUME = ("--resume", switch, False, "continue the run in --run-dir (or the newest) from its last checkpoint")
TENSORBOARD = ("--tensorboard", switch, False, "metrics.jsonl also as events that TensorBoard reads, where it is there")
NO_PLOTS = ("--no-plots", switch, False, "no pictures and no report at the end")
SAVE_INTERVAL = ("--save-interval", non_negative_int, 0, "batches between checkpoints inside an epoch; 0: none there")
NUM_WORKERS = ("--num-workers", threads, 2, "threads that decode pictures ahead")
GPU = ("--gpus", int_list, [], "GPU to use; empty means CPU")
ENGINES = choice("auto", "mxnet", "onnxruntime", metavar="NAME")
ENGINE = ("--engine", ENGINES, "auto", "reads what is not trained: %(choices)s; auto: the fastest for many pictures")
DEVICES = [
    ("--gpus", int_list, [], "GPUs to use, e.g. 0 or 0,2,5; empty means CPU"),
    ("--num-cpus", whole(1, 64), 1, "CPU contexts that stand for devices when --gpus is empty"),
    ("--kvstore", choice(*KVSTORES, metavar="NAME"), "device", "sums gradients: %(choices)s"),
    ("--gradient-compression", positive_float, None, "dist kvstores: send -X, 0 or X in 2 bits, the rest later"),
    ("--amp", switch, False, "train networks in 16 bits: float16 on GPUs, bfloat16 on processors with AVX512-BF16"),
    ENGINE,
]
ANSWERS = [  # of a search
    ("-k", positive_int, 5, "results to show for each query"),
    ("--sheet", Kind(metavar="FILE.png"), None, "also draw them"),
]
PAGE = [
    ("--serve", switch, False, "answer on a page of this machine instead"),
    ("--port", port, 8000, "of the page; 0: any free one"),
]


def on_error(skipping: str = "skip it") -> tuple:
    """The row of ``--on-error``; its help says what `skipping` does."""
    return "--on-error", choice("stop", "skip"), "stop", f"a picture that cannot be read: stop, or {skipping}"


ON_ERROR = on_error()
READING = [on_error("skip it (all are read before), listed in skipped.txt"), NUM_WORKERS]


def seed(what: str = "random seed") -> tuple:
    """The row of ``--seed``; its help says `what` it decides."""
    return "--seed", seed_number, 123, what


def log_interval(batches: int) -> tuple:
    """The row of ``--log-interval``."""
    return "--log-interval", positive_int, batches, "batches between log lines"


def model_file(shipped: os.PathLike) -> tuple:
    """The row of ``--params`` where a model that was trained is used: by default the one `shipped`."""
    return "--params", FILE, shipped, "a model of train.py; default is the shipped one"


def data(dataset: str | None, datasets: Sequence[str]) -> list[tuple]:
    """The flags of a data set and of its reading.

    Parameters
    ----------
    dataset : str or None
        The default.
    datasets : sequence of str
        All that the example knows.
    """
    return [
        ("--dataset", choice(*datasets, metavar="NAME"), dataset, "data set: %(choices)s"),
        *PICTURES,
        *READING,
    ]


def network(model: str) -> list[tuple]:
    """The flags of a network, by default `model`; see ``common.backbones.list_backbones()``."""
    return [("--model", NAME, model, "network; a wrong name lists the near ones"), PARAMS]


def run_dir(example: str) -> tuple:
    """The row of ``--run-dir``: a run lies under ``runs/<example>/``."""
    return "--run-dir", DIR, None, f"folder of this run; default is runs/{example}/DATASET-NUMBER"


def run(example: str) -> list[tuple]:
    """The flags of a run of `example`."""
    return [run_dir(example), RESUME, seed(), TENSORBOARD]
