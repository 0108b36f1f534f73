#!/usr/bin/env bash
# A sweep on Slurm: Ray's head and the driver on the first node, workers on the others.
#     sbatch docker/slurm.sh
# The same command again goes on with what is missing, and so does Slurm after a lost node.
#SBATCH --job-name=chronograd
#SBATCH --nodes=3
#SBATCH --exclusive
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --output=chronograd-%j.log
#SBATCH --open-mode=append

set -euo pipefail
export RAY_USAGE_STATS_ENABLED=0
export RAY_worker_niceness=0 # else other work on a node displaces trials, on the clock
export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=300 # seconds; nodes of a busy machine start slowly
export PATH="$SLURM_SUBMIT_DIR/.venv/bin:$PATH"
RAY_AUTH_TOKEN=$(python3 -c "import secrets; print(secrets.token_hex())") # keeps others off this Ray
export RAY_AUTH_TOKEN RAY_AUTH_MODE=token

# The same on every node: one Ray, all its CPUs and GPUs. The head runs the command after `--`.
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
code=0
srun --ntasks-per-node=1 --cpus-per-task="$SLURM_CPUS_ON_NODE" \
    ray symmetric-run --address "$head:6379" --min-nodes "$SLURM_JOB_NUM_NODES" -- \
    chronograd sweep nadamw adamw --suite demo --ruleset demo \
    --address auto --out results/slurm || code=$?
if [ "$code" -eq 75 ]; then # Ray's head was lost
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
