"""The example files for clusters, as far as that goes without one: stand-ins for `srun` and `ssh` note what starts."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
import yaml

from common.files.paths import REPO
from examples.embedding_learning import train

CLUSTER = REPO / "docs" / "cluster"
WORKERS, SERVERS = 4, 2
SERVE = ["-c", "import common, mxnet"]
NOTE = f"""#!{sys.executable}
import json, os, sys, time
note = {{name: value for name, value in os.environ.items() if name.startswith("DMLC_")}}
os.write(1, (json.dumps({{"argv": sys.argv[1:], **note}}) + "\\n").encode())  # in one piece
until = time.monotonic() + 100
while note["DMLC_ROLE"] == "scheduler" and os.path.exists("hosts.txt") and time.monotonic() < until:
    if os.path.exists("hosts") and len(open("hosts").readlines()) == {SERVERS + WORKERS}:
        break  # the tracker ends with the scheduler
    time.sleep(0.1)
"""
SRUN = """#!/bin/bash
while [[ "$1" == --* ]]; do shift; done
for ((SLURM_PROCID = 0; SLURM_PROCID < SLURM_NTASKS; SLURM_PROCID++)); do SLURM_PROCID=$SLURM_PROCID "$@"; done
"""
SSH = """#!/bin/bash
echo "$3" >> hosts; eval "${@: -1}"
"""


@pytest.fixture
def checkout(tmp_path):
    """A folder with the files, and an interpreter that prints how it was started and by which of DMLC's variables."""
    for name, text in ((".venv/bin/python", NOTE), ("bin/srun", SRUN), ("bin/ssh", SSH)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "bin" / "scontrol").write_text('#!/bin/sh\n[ "$3" = "node[1-4]" ] && printf "node1\\nnode2\\n"')
    (tmp_path / "bin" / "scontrol").chmod(0o755)
    return tmp_path


def started(folder, *command, **variables):
    environment = {**os.environ, **variables, "PATH": f"{folder}/bin:{os.environ['PATH']}"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def check_worker(argv):
    assert argv[0] == "examples/embedding_learning/train.py"
    assert train.parse_args(argv[1:]).kvstore == "dist_sync"


@pytest.mark.parametrize("name", ["slurm.sh", "ssh.sh"])
def test_the_scripts_are_bash(name):
    done = subprocess.run(["bash", "-n", str(CLUSTER / name)], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr
    assert os.access(CLUSTER / name, os.X_OK)


def test_slurm_starts_a_scheduler_servers_and_workers(checkout):
    text = (CLUSTER / "slurm.sh").read_text()
    tasks = re.search(r"#SBATCH --ntasks=(\d+)", text)[1]
    assert int(tasks) == 1 + SERVERS + WORKERS
    job = {"SLURM_NTASKS": tasks, "SLURM_JOB_NODELIST": "node[1-4]", "SLURM_JOB_ID": "17"}
    found = started(checkout, "bash", str(CLUSTER / "slurm.sh"), "--dataset", "glyphs", "--model", "conv4", **job)
    assert [one["DMLC_ROLE"] for one in found] == ["scheduler"] + SERVERS * ["server"] + WORKERS * ["worker"]
    for one in found:
        assert (one["DMLC_NUM_WORKER"], one["DMLC_NUM_SERVER"]) == (str(WORKERS), str(SERVERS))
        assert (one["DMLC_PS_ROOT_URI"], one["DMLC_PS_ROOT_PORT"]) == ("node1", "9091")
        if one["DMLC_ROLE"] == "worker":
            check_worker(one["argv"])
            assert one["argv"][-6:] == ["--run-dir", "runs/slurm-17", "--dataset", "glyphs", "--model", "conv4"]
        else:
            assert one["argv"] == SERVE


def test_kubernetes_describes_a_scheduler_servers_and_workers():
    documents = list(yaml.safe_load_all((CLUSTER / "kubernetes.yaml").read_text()))
    service, config, *jobs = documents
    variables = config["data"]
    assert variables["DMLC_PS_ROOT_URI"] == service["metadata"]["name"] and all(
        isinstance(value, str) for value in variables.values()
    )
    assert [port["port"] for port in service["spec"]["ports"]] == [int(variables["DMLC_PS_ROOT_PORT"])]
    found = {}
    for job in jobs:
        spec = job["spec"]
        (container,) = spec["template"]["spec"]["containers"]
        own = {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container["env"]}
        assert container["envFrom"] == [{"configMapRef": {"name": config["metadata"]["name"]}}]
        assert spec.get("completions", 1) == spec.get("parallelism", 1) and spec["backoffLimit"] == 0
        assert own["DMLC_NODE_HOST"] == {"fieldRef": {"fieldPath": "status.podIP"}}
        found[own["DMLC_ROLE"]] = spec.get("completions", 1)
        argv = container["command"][1:] + container.get("args", [])
        if own["DMLC_ROLE"] == "worker":
            check_worker(argv)
            volumes = {volume["name"] for volume in spec["template"]["spec"]["volumes"]}
            assert {mount["name"] for mount in container["volumeMounts"]} == volumes
        else:
            assert argv == SERVE
        assert own["DMLC_ROLE"] != "scheduler" or job["metadata"]["name"] == service["spec"]["selector"]["job-name"]
    assert found == {"scheduler": 1, "server": SERVERS, "worker": WORKERS}
    assert (variables["DMLC_NUM_WORKER"], variables["DMLC_NUM_SERVER"]) == (str(WORKERS), str(SERVERS))


def test_ssh_starts_servers_and_workers_on_the_hosts_in_turn(checkout):
    pytest.importorskip("dmlc_tracker")
    (checkout / "hosts.txt").write_text("".join(f"machine{i}\n" for i in range(4)))
    script = (CLUSTER / "ssh.sh").read_text().replace("exec .venv/bin/python", f"exec {shutil.which(sys.executable)}")
    (checkout / "ssh.sh").write_text(script)
    environment = {"PYTHONPATH": str(REPO)}
    found = started(checkout, "bash", "ssh.sh", "hosts.txt", "--dataset", "glyphs", **environment)
    roles = sorted(one["DMLC_ROLE"] for one in found)
    assert roles == sorted(["scheduler"] + SERVERS * ["server"] + WORKERS * ["worker"])
    hosts = (checkout / "hosts").read_text().split()
    assert sorted(hosts) == sorted(f"machine{i % 4}" for i in range(SERVERS + WORKERS))
    for one in found:
        check_worker(one["argv"])  # in the other roles importing MXNet ends the program
        assert (one["DMLC_NUM_WORKER"], one["DMLC_NUM_SERVER"]) == (str(WORKERS), str(SERVERS))
