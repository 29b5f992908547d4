#!/bin/bash
# A Ray cluster on the machines of a Slurm job, and a run on it.
#
#   sbatch --nodes=8 examples/ray/slurm.sh RECIPE --input /scratch/crawl --output /scratch/out [more options]
#
# Exit code 75 (time is up, shards failed) puts the job back in the queue; it goes on where it was. The input, the output
# and this Python environment lie on a file system that all machines share.
#SBATCH --job-name=tokenmill
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=32
#SBATCH --exclusive
#SBATCH --time=12:00:00
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
##SBATCH --gpus-per-node=4
set -euo pipefail
# source /scratch/me/venv/bin/activate

most_requeues=${MOST_REQUEUES:-20}
export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1} # since Slurm 22.05 srun does not take it from sbatch
mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
workers=$((${#nodes[@]} - 1))
head=${nodes[0]}
ip=$(srun --nodes=1 --ntasks=1 --nodelist="$head" hostname --ip-address | awk '{print $1}')
port=$((20000 + SLURM_JOB_ID % 10000)) # jobs that share a machine do not meet

# nothing but paths goes through the object store; `--block` ends Ray together with its step
start=(ray start --block --num-cpus="$SRUN_CPUS_PER_TASK" --num-gpus="${SLURM_GPUS_ON_NODE:-0}"
  --object-store-memory=100000000 --disable-usage-stats)
srun --nodes=1 --ntasks=1 --nodelist="$head" --overlap --cpu-bind=none \
  "${start[@]}" --head --node-ip-address="$ip" --port="$port" --include-dashboard=false &
head_step=$!
steps=("$head_step")
for ((second = 0; second < 120; second++)); do
  (exec 3<>"/dev/tcp/$ip/$port") 2>/dev/null && break
  sleep 1
done
if ((workers)); then # those that join late are used from then on
  srun --nodes="$workers" --ntasks="$workers" --exclude="$head" --overlap --cpu-bind=none \
    "${start[@]}" --address="$ip:$port" &
  steps+=("$!")
fi

RAY_ADDRESS="$ip:$port" tokenmill run "$@" --executor ray &
run=$!
told='' interrupted=''
trap 'interrupted=1; [[ $told ]] || kill -TERM "$run"; told=1' TERM INT
while :; do # a signal ends `wait` before tokenmill has ended
  interrupted=''
  code=0
  wait "$run" || code=$?
  [[ $interrupted ]] || break
done
trap '' TERM INT

if ! kill -0 "$head_step" 2>/dev/null; then
  echo "the head of the cluster is gone" >&2
  code=75
fi
kill "${steps[@]}" 2>/dev/null || true
wait "${steps[@]}" || true
if ((code == 75 && ${SLURM_RESTART_COUNT:-0} < most_requeues)); then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
