"""Starting workers and servers, here all on loopback."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from common import launch
from common.files.errors import UserError

REPO = Path(__file__).resolve().parents[2]
WORKER = """
import sys, common, mxnet as mx
store = mx.kv.create("dist_sync")
store.init(0, mx.nd.zeros(3))
store.push(0, mx.nd.ones(3) * (store.rank + 1))
out = mx.nd.zeros(3)
store.pull(0, out)
sys.stdout.write(f"rank {store.rank} of {store.num_workers}: {out.asnumpy().tolist()}\\n")
"""


def run(*arguments):
    command = [sys.executable, "-m", "common.launch", *arguments]
    return subprocess.run(command, cwd=REPO, capture_output=True, text=True, timeout=600)


@pytest.mark.slow
def test_two_workers_sum_their_gradients_on_one_server(tmp_path):
    (tmp_path / "worker.py").write_text(WORKER)
    done = run("-n", "2", "-s", "1", "--", sys.executable, str(tmp_path / "worker.py"))
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == [f"rank {rank} of 2: [3.0, 3.0, 3.0]" for rank in (0, 1)]


@pytest.mark.parametrize(("cores", "workers", "wanted", "each"), [
    (8, 2, "8", 4), (8, 2, "3", 3), (8, 16, "8", 1), (8, 2, "4,2", 4),
])  # fmt: skip
def test_workers_share_the_cores_out(cores, workers, wanted, each, tmp_path, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    monkeypatch.setenv("OMP_NUM_THREADS", wanted)
    file = tmp_path / "threads"
    write = (  # whole, since the first to end has the others ended
        f"import os; own = {str(file)!r} + str(os.getpid()); open(own, 'w').write(os.environ['OMP_NUM_THREADS']);"
        f" os.replace(own, {str(file)!r}); raise SystemExit(3)"
    )
    with pytest.raises(UserError, match="status 3"):
        launch.on_this_machine([sys.executable, "-c", write], workers, 1)
    assert file.read_text() == str(each)


def test_one_failing_worker_ends_all(tmp_path):
    (tmp_path / "worker.py").write_text(
        "import os, sys, time\n" + "sys.exit(3) if os.environ['DMLC_TASK_ID'] == '3' else time.sleep(100)"
    )
    done = run("-n", "2", "-s", "1", "--", sys.executable, str(tmp_path / "worker.py"))
    assert done.returncode == 2 and done.stderr.splitlines()[-1].startswith("error: a process ended with status 3")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc, and a signal at the parent's death")
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_all_end_with_the_launcher(tmp_path, how):
    worker = "import os, sys, time; open(os.path.join(sys.argv[1], str(os.getpid())), 'w').close(); time.sleep(300)"
    command = ["-n", "2", "-s", "1", "--", sys.executable, "-c", worker, str(tmp_path)]
    process = subprocess.Popen([sys.executable, "-m", "common.launch", *command], cwd=REPO)
    while len(list(tmp_path.iterdir())) < 2:
        assert process.poll() is None
        time.sleep(0.05)
    children = [path.parent for path in Path("/proc").glob("[0-9]*/stat") if parent(path) == process.pid]
    assert len(children) == 4  # scheduler, server, two workers
    process.send_signal(how)
    assert process.wait(60) == (-how if how == signal.SIGKILL else 128 + how)
    for _ in range(600):
        left = [child for child in children if parent(child / "stat") is not None]
        if not left:
            break
        time.sleep(0.1)
    assert not left


def parent(stat):
    """The parent of the process of a /proc/N/stat; None where it has ended."""
    try:
        state, number = stat.read_text().rpartition(")")[2].split()[:2]
    except OSError:
        return None
    return None if state == "Z" else int(number)


def test_a_command_that_is_not_there_is_one_line(tmp_path):
    done = run("-n", "1", "-s", "1", "--", str(tmp_path / "none"))
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "none cannot be run: No such file" in done.stderr


@pytest.mark.parametrize("arguments", [
    ["-n", "2"],
    ["-n", "1000000000", "--", "true"],
    ["-n", "0", "--", "true"],
    ["-n", "2", "--launcher", "ssh", "--", "true"],
    ["-n", "2", "--launcher", "ssh", "--host-file", "no-such-file", "--", "true"],
])  # fmt: skip
def test_wrong_use_is_one_line(arguments):
    done = run(*arguments)
    assert done.returncode == 2 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


@pytest.mark.parametrize("launcher", ["ssh", "mpi", "slurm", "sge", "yarn"])
def test_a_cluster_job_goes_to_the_tracker(launcher, tmp_path, monkeypatch):
    module = pytest.importorskip(f"dmlc_tracker.{launcher}")
    jobs = []
    monkeypatch.setattr(module, "submit", jobs.append)
    (tmp_path / "hosts").write_text("a\nb\n")
    command = ["python3", "train.py", "--kvstore", "dist_sync", "--run-dir", "my runs"]
    arguments = ["-n", "4", "-s", "2", "--launcher", launcher, "-H", str(tmp_path / "hosts"), "--", *command]
    launch.main(launch.parse_args(arguments))
    (job,) = jobs
    assert (job.num_workers, job.num_servers, job.host_file) == (4, 2, str(tmp_path / "hosts"))
    assert job.command == [*command[:-1], "'my runs'"]  # the tracker joins them to a shell's line


def test_a_launcher_without_its_package_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "kubernetes", None)
    monkeypatch.delitem(sys.modules, "dmlc_tracker.kubernetes", raising=False)
    args = SimpleNamespace(
        launcher="kubernetes", num_workers=1, num_servers=1, host_file=None, sync_dst_dir=None, command=["true"]
    )
    with pytest.raises(UserError, match="needs kubernetes: pip install kubernetes"):
        launch.on_a_cluster(args)
