#!/usr/bin/env bash
# Check a CUDA device in about ten minutes: compare it with the CPU, then measure.
# Usage: benchmarks/gpu_checks.sh FOLDER [--device cpu] [--quick]
# FOLDER gets a log of each part, the results of the benchmarks and summary.txt. A part
# that fails does not stop the others; the exit status is then 1. --device cpu shows, on a
# machine without a GPU, that the parts run. --quick: tiny sizes, no test that is slow.
set -uo pipefail

usage() {
    echo "usage: $0 FOLDER [--device cpu] [--quick]" >&2
    exit 2
}

FOLDER='' DEVICE=cuda QUICK=()
while [ "$#" -gt 0 ]; do
    case $1 in
        --device)
            [ "$#" -gt 1 ] || usage
            DEVICE=$2
            shift
            ;;
        --quick) QUICK=(--quick) ;;
        -*) usage ;;
        *)
            [ -z "$FOLDER" ] || usage
            FOLDER=$1
            ;;
    esac
    shift
done
[ -n "$FOLDER" ] || usage
case $DEVICE in cpu | cuda) ;; *) usage ;; esac

PYTHON=${PYTHON:-python}
mkdir -p "$FOLDER" || exit 2
FOLDER=$(cd "$FOLDER" && pwd)
cd "$(dirname "$0")/.." || exit 2
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
if [ "$DEVICE" = cuda ]; then
    "$PYTHON" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' || {
        echo "$0: torch finds no CUDA device (mlcl doctor says more)" >&2
        exit 2
    }
fi

SUMMARY=$FOLDER/summary.txt
: > "$SUMMARY"
FAILED=0

# part NAME SECONDS COMMAND...: run a part, at most so long, and say how it ended.
part() {
    local name=$1 limit=$2 begin=$SECONDS words
    shift 2
    echo "$name: $*"
    # A part that does not end after SIGTERM is killed.
    timeout --kill-after=10 "$limit" "$@" > "$FOLDER/$name.log" 2>&1
    local status=$?
    case $status in
        0) words=ok ;;
        124 | 137) words="FAILED (more than $limit s)" ;;
        *) words="FAILED (status $status, see $name.log)" ;;
    esac
    [ "$status" -eq 0 ] || FAILED=1
    printf '%-20s %5d s  %s\n' "$name" $((SECONDS - begin)) "$words" | tee -a "$SUMMARY"
}

# On a CPU, memory is measured in processes of their own.
LIMIT=200
[ "$DEVICE" = cuda ] || LIMIT=1200

# bench NAME [OPTIONS...]: one of the benchmarks.
bench() {
    local name=$1
    shift
    part "$name" "$LIMIT" "$PYTHON" "benchmarks/bench_$name.py" --out "$FOLDER" \
        ${QUICK[@]+"${QUICK[@]}"} "$@"
}

MARKS=gpu
[ "${#QUICK[@]}" -eq 0 ] || MARKS='gpu and not slow'
part doctor 60 "$PYTHON" -m mlcl_plugin doctor
part tests 480 "$PYTHON" -m pytest -q -rs -m "$MARKS" tests/test_gpu --device "$DEVICE"
bench contrastive_loss --device "$DEVICE"
bench label_axis --device "$DEVICE"
bench train_step --device "$DEVICE"
bench inference --device "$DEVICE" --batches 1 16
# Images are read and augmented by the CPU.
bench pipeline

# What pytest counted, passed and skipped tests among them.
tail -n 1 "$FOLDER/tests.log" | tee -a "$SUMMARY"
echo "all of it: $FOLDER, in $SECONDS s" | tee -a "$SUMMARY"
exit "$FAILED"
