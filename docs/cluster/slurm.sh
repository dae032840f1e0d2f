#!/usr/bin/env bash
# Four workers and two parameter servers under Slurm: sbatch docs/cluster/slurm.sh, in the repository, on a shared folder.
# Slurm starts seven tasks: the first is the scheduler, the next two are the servers, the others train.
#SBATCH --job-name=embeddings
#SBATCH --nodes=4
#SBATCH --ntasks=7
#SBATCH --cpus-per-task=4
#SBATCH --time=04:00:00
set -euo pipefail
export DMLC_NUM_WORKER=4 DMLC_NUM_SERVER=2 DMLC_PS_ROOT_PORT="${DMLC_PS_ROOT_PORT:-9091}"
DMLC_PS_ROOT_URI="$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)" # task 0 runs on the first node
export DMLC_PS_ROOT_URI PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-4}"

# In the roles of scheduler and server importing MXNet returns when the training is over.
srun --kill-on-bad-exit=1 --distribution=cyclic bash -c '
  if [ "$SLURM_PROCID" -eq 0 ]; then export DMLC_ROLE=scheduler
  elif [ "$SLURM_PROCID" -le "$DMLC_NUM_SERVER" ]; then export DMLC_ROLE=server
  else DMLC_ROLE=worker exec .venv/bin/python "$@"; fi
  exec .venv/bin/python -c "import common, mxnet"
' bash examples/embedding_learning/train.py --kvstore dist_sync --run-dir "runs/slurm-$SLURM_JOB_ID" "$@"
