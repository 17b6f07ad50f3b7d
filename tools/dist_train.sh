#!/usr/bin/env bash
# Train in several processes: one per GPU, or on the CPUs of a machine without a GPU.
# Usage: tools/dist_train.sh CONFIG PROCESSES [options of tools/train.py]
# For several machines, set NNODES, NODE_RANK, MASTER_ADDR and PORT.
# MAX_RESTARTS=N starts all processes again up to N times if one fails; the run goes on
# from its latest checkpoint (this implies --resume, also for the first start).
set -euo pipefail

if [ "$#" -lt 2 ]; then
    echo "usage: $0 CONFIG PROCESSES [options of tools/train.py]" >&2
    exit 2
fi
CONFIG=$1
PROCESSES=$2

MAX_RESTARTS=${MAX_RESTARTS:-0}
RESUME=()
case " ${*:3} " in
    *" --resume "* | *" --resume="*) ;;
    *) [ "$MAX_RESTARTS" -eq 0 ] || RESUME=(--resume) ;;
esac

PYTHONPATH="$(dirname "$0")/..${PYTHONPATH:+:$PYTHONPATH}" \
exec "${PYTHON:-python}" -m torch.distributed.run \
    --nnodes="${NNODES:-1}" \
    --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" \
    --master_port="${PORT:-29500}" \
    --nproc_per_node="$PROCESSES" \
    --max_restarts="$MAX_RESTARTS" \
    "$(dirname "$0")/train.py" "$CONFIG" --launcher pytorch \
    ${RESUME[@]+"${RESUME[@]}"} "${@:3}"
