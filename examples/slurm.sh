#!/bin/bash
# Augment a set with a Slurm array, each task a rank, and publish when all have ended:
#
#   sbatch --array=0-15 slurm.sh twitter2015 twitter2015-aug --method lsms --copies 4
#
# Source and output are on a file system that all nodes share; hf-mner-aug is on the PATH (module load, source …/activate).
# The array's first task queues the one that publishes, which makes what a failed rank left. Start the same again: finished
# parts are kept. GPUs, memory and time are options of sbatch, before the script.
#SBATCH --job-name=mner-aug
#SBATCH --output=mner-aug-%A_%a.log
#SBATCH --cpus-per-task=1
set -euo pipefail

if [ $# -lt 2 ]; then
    echo "usage: sbatch --array=0-LAST slurm.sh SOURCE OUT [OPTIONS OF hf-mner-aug augment]" >&2
    exit 2
fi
source=$1 out=$2
shift 2
export OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-1} # the same in all tasks

if [ -z "${SLURM_ARRAY_TASK_ID:-}" ]; then # the last job, or a job without an array
    exec hf-mner-aug augment "$source" --out "$out" --yes "$@"
fi
if [ "$SLURM_ARRAY_TASK_MIN" != 0 ] || [ "$SLURM_ARRAY_TASK_STEP" != 1 ]; then
    echo "expected an array that counts from 0 by 1, found --array=$SLURM_ARRAY_TASK_MIN-$SLURM_ARRAY_TASK_MAX:$SLURM_ARRAY_TASK_STEP" >&2
    exit 2
fi
if [ "$SLURM_ARRAY_TASK_ID" = 0 ]; then
    # Slurm runs a copy of this script, which the queue may delete: --wrap takes its one command instead.
    printf -v publish '%q ' hf-mner-aug augment "$source" --out "$out" --yes "$@"
    sbatch --job-name=mner-aug-publish --output="mner-aug-%j.log" --dependency="afterany:$SLURM_ARRAY_JOB_ID" \
        --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" --wrap "export OMP_NUM_THREADS=$OMP_NUM_THREADS; $publish"
fi
exec hf-mner-aug augment "$source" --out "$out" --yes "$@" \
    --rank "$SLURM_ARRAY_TASK_ID" --world-size "$((SLURM_ARRAY_TASK_MAX + 1))"
