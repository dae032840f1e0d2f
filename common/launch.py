#!/usr/bin/env python3
r"""Start a training on many machines: workers and parameter servers, through MXNet's dmlc_tracker.

    python3 -m common.launch -n 2 -s 1 --launcher local -- \
        python3 examples/embedding_learning/train.py --kvstore dist_sync

Workers run the command; MXNet turns a process that is told to be a server or the scheduler into that when it is
imported. Which part of the data a worker reads follows its rank.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from common import cli
from common.files.errors import UserError
from common.files.paths import REPO

LAUNCHERS = ("local", "ssh", "mpi", "slurm", "sge", "yarn", "kubernetes")
PATIENCE = 10.0  # seconds that a process has to end in, once it was told to
PR_SET_PDEATHSIG = 1  # of <linux/prctl.h>
LOOPBACK = {"DMLC_PS_ROOT_URI": "127.0.0.1", "DMLC_INTERFACE": "lo", "DMLC_NODE_HOST": "127.0.0.1"}
FLAGS = {
    "processes": [
        ("-n --num-workers", cli.whole(1, 1000), cli.REQUIRED, "processes that train"),
        ("-s --num-servers", cli.whole(1, 1000), None, "parameter servers (default: as many)"),
        ("--launcher", cli.choice(*LAUNCHERS), "local", "how the processes are started"),
        ("-H --host-file", cli.Kind(), None, "one host a line; ssh and mpi need it"),
        ("--sync-dst-dir", cli.Kind(), None, "ssh and mpi: folder on the hosts that this one is copied to"),
        ("command", cli.Kind(metavar="-- COMMAND", nargs=argparse.REMAINDER), cli.REQUIRED, "what every process runs"),
    ],
}


def parse_args(argv=None) -> argparse.Namespace:
    """The flags, and after ``--`` the command."""
    p = cli.parser(__doc__, FLAGS)
    p.prog = "python3 -m common.launch"
    args = p.parse_args(argv)
    args.command = args.command[1:] if args.command[:1] == ["--"] else args.command
    if not args.command:
        p.error("give the command to run after --")
    if args.launcher in ("ssh", "mpi") and not args.host_file:
        p.error(f"--launcher {args.launcher} needs --host-file")
    if args.host_file and not Path(args.host_file).is_file():
        p.error(f"--host-file {args.host_file}: no such file")
    args.num_servers = args.num_servers or args.num_workers
    return args


def main(args: argparse.Namespace) -> None:
    """Start all and wait for the workers."""
    if args.launcher == "local":
        on_this_machine(args.command, args.num_workers, args.num_servers)
    else:
        on_a_cluster(args)


def on_this_machine(command: list[str], workers: int, servers: int) -> None:
    """Start a scheduler, servers and workers on loopback; the first that fails ends all.

    The tracker's own ``local`` listens on every interface and outlives a failed worker.

    Parameters
    ----------
    command : list of str
        What each worker runs.
    workers, servers : int
        Processes of each kind.

    Raises
    ------
    UserError
        The command cannot be run, or a process fails.
    """
    path = os.pathsep.join(filter(None, [str(REPO), os.environ.get("PYTHONPATH")]))
    shared = {
        **os.environ, **LOOPBACK, "PYTHONPATH": path, "DMLC_PS_ROOT_PORT": str(_free_port()),
        "DMLC_NUM_WORKER": str(workers), "DMLC_NUM_SERVER": str(servers), "DMLC_JOB_CLUSTER": "local",
        "OMP_NUM_THREADS": str(_threads(os.environ["OMP_NUM_THREADS"], workers)),
    }  # fmt: skip
    serve = [sys.executable, "-c", "import common, mxnet"]  # in these roles the import returns when training is over
    roles = [("scheduler", serve)] + servers * [("server", serve)] + workers * [("worker", command)]
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    processes: list[subprocess.Popen] = []
    die_with_parent = _die_with_parent()
    try:
        for i, (role, line) in enumerate(roles):
            environment = {**shared, "DMLC_ROLE": role, "DMLC_TASK_ID": str(i)}
            processes.append(_started(line, environment, die_with_parent))
        _wait(processes)
    finally:
        _end(processes)


def _threads(wanted: str, workers: int) -> int:
    """Threads of each worker: of `wanted`, its share of the cores at the most, since more only wait for each other."""
    share = max((os.cpu_count() or 1) // workers, 1)
    return min(int(wanted), share) if wanted.isdigit() else share


def _started(line: list[str], environment: dict, first: Callable[[], None] | None) -> subprocess.Popen:
    try:
        return subprocess.Popen(line, env=environment, preexec_fn=first)
    except OSError as error:
        raise UserError(f"{line[0]} cannot be run: {error.strerror}") from error


def _end(processes: list[subprocess.Popen]) -> None:
    """Terminate those that still run; kill what is left after `PATIENCE` seconds."""
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
    until = time.monotonic() + PATIENCE
    for process in processes:
        try:
            process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _stop(number, _) -> None:
    """Signal handler: exit, so that the launcher ends what it started."""
    sys.exit(128 + number)


def _die_with_parent() -> Callable[[], None] | None:
    """For a child, to run first: have the kernel kill it when the launcher dies. None where that is not Linux."""
    if not sys.platform.startswith("linux"):
        return None
    prctl, launcher = ctypes.CDLL(None, use_errno=True).prctl, os.getpid()

    def ask():
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != launcher:  # the launcher died before the call
            os._exit(1)

    return ask


def _wait(processes: list[subprocess.Popen]) -> None:
    """Return when all have ended well.

    Raises
    ------
    UserError
        One did not.
    """
    ended = threading.Semaphore(0)

    def watch(process):
        process.wait()
        ended.release()

    for process in processes:
        threading.Thread(target=watch, args=(process,), daemon=True).start()
    for _ in processes:
        ended.acquire()
        failed = [process.returncode for process in processes if process.poll()]
        if failed:
            raise UserError(f"a process ended with status {failed[0]}; its own message is above, all others were ended")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def on_a_cluster(args: argparse.Namespace) -> None:
    """Hand the job to dmlc_tracker, which the MXNet wheel contains beside the package."""
    threading.Thread.isAlive = threading.Thread.is_alive  # the tracker's name for it, gone since CPython 3.9
    try:
        launcher = importlib.import_module(f"dmlc_tracker.{args.launcher}")
        opts = importlib.import_module("dmlc_tracker.opts")
    except ImportError as error:
        raise UserError(f"--launcher {args.launcher} needs {error.name}: pip install {error.name}") from error
    flags = ["--cluster", args.launcher, "--num-workers", str(args.num_workers), "--num-servers", str(args.num_servers)]
    flags += ["--host-file", args.host_file] if args.host_file else []
    flags += ["--sync-dst-dir", args.sync_dst_dir] if args.sync_dst_dir else []
    options = opts.get_opts([*flags, "true"])
    options.command = [shlex.quote(word) for word in args.command]
    launcher.submit(options)


if __name__ == "__main__":
    cli.launch(main, parse_args)
