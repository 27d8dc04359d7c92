#!/usr/bin/env bash
# Everything that wants a graphics card, unattended, in under eight minutes on a machine with one CUDA card, without the
# network: tests that every gate is bit-identical to the CPU, BERT-base by three processes on the card and on the CPU,
# ring products, and BERT-base with all roles in one process.
# Needs a python3 with numpy and a PyTorch for the card (PYTHON names another one), and nothing that is ours installed;
# the processes want our other dependencies, too.
# Writes bench/results/gpu-NAME.json and, of the processes, bench/results/bert-base-private-1x128-cuda.json.
# DEVICE=cpu bash bench/on_gpu.sh --quick tries it without a card.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

PYTHON=${PYTHON:-python3}
DEVICE=${DEVICE:-cuda}
export PYTHONUNBUFFERED=1

tests=0
if ! "$PYTHON" -c 'import hypothesis, pytest, pytest_timeout' 2>/dev/null; then
    echo "tests/gpu is left out: pytest, pytest-timeout or hypothesis is missing"
elif [ "$DEVICE" = cuda ]; then
    workers=()
    if "$PYTHON" -c 'import xdist' 2>/dev/null; then
        workers=(-n auto --maxprocesses 6)
    fi
    timeout 100 "$PYTHON" -m pytest -q -W default -p no:cacheprovider "${workers[@]}" tests/gpu/test_cuda.py || tests=$?
fi
if ! "$PYTHON" -c 'import bench.__main__' 2>/dev/null; then
    echo "three processes are left out: packages of pyproject.toml are missing"
elif [ "$DEVICE" = cuda ]; then
    timeout 240 "$PYTHON" -m bench model bert-base --device cuda --repeats 2
fi
timeout 130 "$PYTHON" -m bench.gpu --device "$DEVICE" "$@"
exit "$tests"
