#!/bin/bash
# An array job: each task drives one shard of a stored run. No Dask, no scheduler process.
#
#   orchestrator load --instances 100000 --concurrency 800 --shards 8 --no-drive
#   sbatch deploy/slurm/array.sh 261123-k7m3qp
#
# The store is named by ORCHESTRATOR_STORE (PostgreSQL), the key by ORCHESTRATOR_KEY; the database's password is in ~/.pgpass (mode 0600).
#SBATCH --job-name=orchestrator
#SBATCH --array=0-7
#SBATCH --cpus-per-task=1
#SBATCH --mem=512M
#SBATCH --signal=TERM@60
#SBATCH --requeue
set -euo pipefail
run=${1:?name the run: sbatch array.sh RUN}
exec orchestrator drive "$run" --shard "$SLURM_ARRAY_TASK_ID"
