#!/usr/bin/env bash
# Find the labels of images in several processes: one per GPU, or on the CPUs of a machine
# without a GPU. After a kill, the same call with --resume goes on.
# Usage: tools/dist_infer.sh PROCESSES IMAGES... [CONFIG CHECKPOINT] --out FILE [options of
# tools/infer.py]
# For several machines that share a folder, set NNODES, NODE_RANK, MASTER_ADDR and PORT.
set -euo pipefail

if [ "$#" -lt 2 ]; then
    echo "usage: $0 PROCESSES IMAGES... [CONFIG CHECKPOINT] --out FILE [options of" \
        "tools/infer.py]" >&2
    exit 2
fi

PYTHONPATH="$(dirname "$0")/..${PYTHONPATH:+:$PYTHONPATH}" \
exec "${PYTHON:-python}" -m torch.distributed.run \
    --nnodes="${NNODES:-1}" \
    --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" \
    --master_port="${PORT:-29500}" \
    --nproc_per_node="$1" \
    "$(dirname "$0")/infer.py" "${@:2}" --launcher pytorch
