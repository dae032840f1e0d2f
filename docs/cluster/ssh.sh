#!/usr/bin/env bash
# Four workers and two parameter servers over ssh: docs/cluster/ssh.sh HOSTS
# HOSTS names a machine a line, each reached by ssh without a password, with the repository and its .venv in the same folder.
# Servers and workers are dealt out to the machines in turn; the scheduler runs here.
set -euo pipefail
hosts="${1:?a file with a host name a line}"
shift
exec .venv/bin/python -m common.launch -n 4 -s 2 --launcher ssh --host-file "$hosts" -- \
  .venv/bin/python examples/embedding_learning/train.py --kvstore dist_sync --run-dir runs/ssh "$@"
