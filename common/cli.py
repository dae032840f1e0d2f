"""The command line that the examples share. Imports nothing slow, so that ``--help`` and wrong flags answer at once."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from common.errors import UserError
from common.paths import data_root

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
        Default network, see ``common.backbones.names()``.
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
    add("--num-workers", type=non_negative_int, default=2, metavar="N", help="threads that decode pictures ahead")
    add("--gpus", type=int_list, default=[], metavar="LIST", help="GPUs to use, e.g. 0 or 0,2,5; empty means CPU")
    add(
        "--num-cpus",
        type=positive_int,
        default=1,
        metavar="N",
        help="CPU contexts that stand for devices when --gpus is empty",
    )
    add("--kvstore", default="device", choices=KVSTORES, metavar="NAME", help=f"sums gradients: {', '.join(KVSTORES)}")
    add("--seed", type=non_negative_int, default=seed, metavar="N", help="random seed")
    if int8:
        add("--int8", action="store_true", help="read features with the network quantised to 8 bits")


def _shown(path) -> str:
    """`path` as a user in the working folder would write it."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def launch(main: Callable, parse_args: Callable) -> None:
    """Run a script's `main` and turn its end into an exit status.

    0 done; 2 with one line ``error: ...`` on stderr for a `UserError`; 130 on Ctrl-C, when the checkpoints
    written so far are whole, since each is renamed into place.
    """
    try:
        main(parse_args())
    except UserError as error:
        sys.stdout.flush()
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("stopped; a run with checkpoints continues with --resume", file=sys.stderr)
        sys.exit(130)


def int_list(text: str) -> list[int]:
    """``"0,2,5"`` -> ``[0, 2, 5]``; empty text gives an empty list."""
    return _list(int, text, "whole numbers with commas between, such as 0,2,5")


def float_list(text: str) -> list[float]:
    """``"0.1,0.2"`` -> ``[0.1, 0.2]``; empty text gives an empty list."""
    return _list(float, text, "numbers with commas between, such as 12,14.5")


def _list(kind, text: str, wanted: str) -> list:
    try:
        return [kind(part) for part in text.split(",") if part.strip()]
    except ValueError:
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


positive_int = _number(int, lambda n: n > 0, "a whole number above 0")
non_negative_int = _number(int, lambda n: n >= 0, "a whole number, 0 or more")
positive_float = _number(float, lambda x: 0 < x < float("inf"), "a number above 0")
non_negative_float = _number(float, lambda x: 0 <= x < float("inf"), "a number, 0 or more")
unit_float = _number(float, lambda x: 0 <= x <= 1, "a number from 0 to 1")
