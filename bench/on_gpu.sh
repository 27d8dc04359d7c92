#!/usr/bin/env bash
# Everything that wants a graphics card, unattended, in under eight minutes on a machine with one CUDA card, without the
# network: tests that every gate is bit-identical to the CPU, ring products, BERT-base with all roles on the card.
# Needs a python3 with numpy and a PyTorch for the card (PYTHON names another one), and nothing that is ours installed.
# Writes bench/results/gpu-NAME.json. DEVICE=cpu bash bench/on_gpu.sh --quick tries it without a card.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

PYTHON=${PYTHON:-python3}
DEVICE=${DEVICE:-cuda}
export PYTHONUNBUFFERED=1

tests=0
if ! "$PYTHON" -c 'import hypothesis, pytest, pytest_timeout' 2>/dev/null; then
    echo "tests/gpu is left out: pytest, pytest-timeout or hypothesis is missing"
elif [ "$DEVICE" = cuda ]; then
    timeout 150 "$PYTHON" -m pytest -q -W default -p no:cacheprovider tests/gpu/test_cuda.py || tests=$?
fi
timeout 300 "$PYTHON" -m bench.gpu --device "$DEVICE" "$@"
exit "$tests"
