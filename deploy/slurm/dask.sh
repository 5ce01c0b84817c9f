#!/bin/bash
# One allocation: the scheduler and the launcher on its first node, a worker for each task on all nodes.
#
#   orchestrator cluster certs ~/orchestrator-tls        (once, on a file system that all nodes share)
#   sbatch --nodes=4 --ntasks-per-node=16 deploy/slurm/dask.sh --instances 100000 --concurrency 800
#
# The store is named by ORCHESTRATOR_STORE (PostgreSQL), the key by ORCHESTRATOR_KEY; the database's password is in ~/.pgpass (mode 0600).
#SBATCH --job-name=orchestrator
#SBATCH --cpus-per-task=1
#SBATCH --signal=B:TERM@60
set -euo pipefail
tls=${ORCHESTRATOR_CLUSTER_TLS:-$HOME/orchestrator-tls}
file=$PWD/orchestrator-$SLURM_JOB_ID.json

orchestrator cluster scheduler --tls "$tls" --scheduler-file "$file" &
scheduler=$!
until [ -s "$file" ]; do sleep 0.2; done
srun orchestrator cluster worker "$file" --tls "$tls" --processes 1 --no-nanny &
workers=$!

orchestrator load "$@" --cluster "$file" --cluster-tls "$tls" &
launcher=$!
trap 'kill -TERM "$launcher"' TERM
code=0
wait "$launcher" || code=$?
kill "$workers" "$scheduler" 2>/dev/null || true
rm -f "$file"
exit "$code"
