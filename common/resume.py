"""``--resume`` takes the run's own flags from its folder: a flag given again must agree, but for a few that may change.

Imports nothing slow: what does not agree is said at once.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from common.files.disk import plain
from common.files.errors import UserError, reading
from common.files.paths import REPO

ARGS = "args.json"
FREE = (  # what a resumed run may change: how long it goes on, what it keeps and shows of itself, and how fast it reads
    "epochs", "epochs_1", "epochs_2a", "epochs_2b", "max_epochs", "stages", "num_workers", "log_interval", "dispFreq",
    "save_interval", "keep_all", "save_embeddings", "final", "engine", "tensorboard",
)  # fmt: skip
OF_A_CALL = ("run_dir", "resume", "find_lr", "no_plots")  # each call says these anew: left out, a switch is off
PATHS = ("DIR", "FILE", "WEIGHTS")  # the metavars of flags that name a place


def parse_args(
    p: argparse.ArgumentParser, argv, program: str, free: Callable[[Path], Iterable[str]] | None = None
) -> argparse.Namespace:
    """``p.parse_args(argv)``; with ``--resume``, flags that are not given are those of the run.

    Parameters
    ----------
    p : argparse.ArgumentParser
        Has ``--resume`` and ``--run-dir``.
    argv : list of str or None
    program : str
        Whose runs are continued: the folder under ``runs/``.
    free : callable (folder) -> names, optional
        What else may change in the run of a folder, beside `FREE`.

    Returns
    -------
    argparse.Namespace
        ``run_dir`` is the run's folder where one is resumed.

    Raises
    ------
    UserError
        There is no such run, another program wrote it, or a flag disagrees: names flag and both values.
    """
    args = p.parse_args(argv)
    if not args.resume:
        return args
    folder = place(args, program)
    kept = read(folder)
    check_program(kept, program, folder)
    may = {*FREE, *kept.get("free", ()), *(free(folder) if free else ())}
    given = _given(p, argv)
    where = kept.get("where", os.getcwd())
    for action in p._actions:
        name = action.dest
        if name in OF_A_CALL or name not in kept["args"]:
            continue
        begun, is_path = kept["args"][name], action.metavar in PATHS
        if name not in given:
            setattr(args, name, _found(begun, where) if is_path else begun)
        elif name not in may and not _same(begun, given[name], where, is_path):
            begun = _found(begun, where) if is_path else begun
            raise UserError(_disagreement(action, begun, given[name], folder))
    args.run_dir = str(folder)
    return args


def place(args: argparse.Namespace, program: str) -> Path:
    """The run folder that the flags ask for: ``--run-dir``, or by number under ``runs/<program>/``.

    With ``--resume`` the number is the newest of the data set, else a new one.

    Parameters
    ----------
    args : argparse.Namespace
        With ``run_dir``, ``dataset`` and, where the program has them, ``data_path`` and ``resume``.
    program : str

    Raises
    ------
    UserError
        There is no run to resume.
    """
    if args.run_dir:
        return Path(args.run_dir)
    stem = args.dataset or ("folder" if getattr(args, "data_path", None) else "features")
    parent, resumed = REPO / "runs" / program, getattr(args, "resume", False)
    suffixes = (path.name[len(stem) + 1 :] for path in parent.glob(f"{stem}-*"))
    last = max((int(suffix) for suffix in suffixes if suffix.isdigit()), default=0)
    if resumed and not last:
        raise UserError(f"no run of {stem} under {parent} to resume: give its --run-dir, or leave out --resume")
    return parent / f"{stem}-{last if resumed else last + 1}"


def read(folder: Path) -> dict:
    """What ``args.json`` in a run's folder holds; where a machine has one worker's folder alone, what that one's holds.

    Raises
    ------
    UserError
        There is none, or it cannot be read.
    """
    files = [path for path in (folder / ARGS, *sorted(folder.glob(f"worker-*/{ARGS}"))) if os.path.isfile(path)]
    if not files:
        raise UserError(f"{folder} holds no run to resume: leave out --resume, or give its --run-dir")
    parts = []
    for path in files:
        with reading(path, "the run cannot be resumed; start another"):
            parts.append(json.loads(path.read_text(encoding="utf-8")))
            if not isinstance(parts[-1], dict) or not isinstance(parts[-1].get("args"), dict):
                raise ValueError("no flags in it")
    free = {name for part in parts for name in part.get("free", ())}  # whichever worker's numbers went first
    return {**parts[0], "free": sorted(free)} if free else parts[0]


def check_program(kept: dict, program: str, folder: Path) -> None:
    """Refuse a run that another program wrote; old runs do not say whose they are.

    Parameters
    ----------
    kept : dict
        What `read` gives.
    program : str
        Which one resumes; empty: any run will do.
    folder : Path
        Of the run, for the message.

    Raises
    ------
    UserError
        Another program wrote it.
    """
    found = kept.get("program", program)
    if program and found != program:
        raise UserError(f"{folder} holds a run of {found}, not of {program}: give another --run-dir")


def changes(kept: dict, args: argparse.Namespace) -> dict[str, list]:
    """The flags whose values changed: name to the value then and the value now.

    Parameters
    ----------
    kept : dict
        What `read` gives.
    args : argparse.Namespace
        The flags of now. A path that names the same place from another working folder is not changed.
    """
    now, where = as_json(vars(args)), kept.get("where", os.getcwd())
    both = {name: [value, now[name]] for name, value in kept["args"].items() if name in now}
    return {
        name: pair
        for name, pair in both.items()
        if name not in ("run_dir", "resume") and pair[0] != pair[1] and not _same(*pair, where, True)
    }


def check_data(kept: dict, data: dict, folder: Path) -> None:
    """Refuse another data set than the run was begun on; old runs do not say what theirs was.

    Parameters
    ----------
    kept : dict
        What `read` gives.
    data : dict
        What the data set is known by now, see `common.run.Run`: numbers, and lists of one length.
    folder : Path
        Of the run, for the message.

    Raises
    ------
    UserError
        A value differs.
    """
    for name, value in as_json(data).items():
        begun = kept.get("data", {}).get(name, value)
        if isinstance(value, list):
            pairs = zip(begun, value) if isinstance(begun, list) else ()
            odd = next((f"{then!r} in the place of {now!r}" for then, now in pairs if then != now), None)
            if odd:
                raise UserError(f"{folder} was begun on {name} with {odd}: resume it with the same data")
        elif begun != value:
            raise UserError(
                f"{folder} was begun on {begun} {name}, and there are {value} now: resume it with the same data"
            )


def as_json(value: Any) -> Any:
    """`value` as it comes back from a JSON file."""
    return json.loads(json.dumps(value, default=plain))


def _given(p: argparse.ArgumentParser, argv) -> dict:
    """The flags that the command line names, with their values: parsed once more, without defaults."""
    absent = object()
    values = vars(p.parse_args(argv, argparse.Namespace(**{action.dest: absent for action in p._actions})))
    return {name: as_json(value) for name, value in values.items() if value is not absent}


def _same(begun, now, where: str, is_path: bool) -> bool:
    """Whether two values agree; paths are compared by what they named in the working folder of their command."""
    if not is_path:
        return begun == now
    if isinstance(begun, list) and isinstance(now, list) and len(begun) == len(now):
        return all(_same(a, b, where, True) for a, b in zip(begun, now))
    if isinstance(begun, str) and isinstance(now, str):
        there = os.path.join(where, begun)
        return os.path.realpath(there) == os.path.realpath(now) or (begun == now and not os.path.exists(there))
    return begun == now


def _found(value, where: str):
    """A path relative to the working folder `where`, as a path that is right in this one."""
    if isinstance(value, list):
        return [_found(part, where) for part in value]
    if not isinstance(value, str) or os.path.realpath(where) == os.getcwd():
        return value
    there = os.path.join(where, value)
    return there if os.path.exists(there) else value


def _disagreement(action: argparse.Action, begun, given, folder: Path) -> str:
    flag = max(action.option_strings, key=len)
    if action.nargs == 0:  # a switch
        said, was = flag, f"with {flag}" if begun else f"without {flag}"
    else:
        said, was = f"{flag} {_shown(given)}", "without it" if begun in (None, []) else f"with {flag} {_shown(begun)}"
    return f"{said}: the run in {folder} was begun {was}; leave it out to resume, or start another --run-dir"


def _shown(value) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value)) or "''"
    return str(value)
