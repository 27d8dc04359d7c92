"""CrypTen with a trusted first party. In its environment: python -m bench.peers.crypten_runner WORKLOAD tanh|erf."""

from __future__ import annotations

import math
import multiprocessing
import os
import sys
import tempfile
import time
import types
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.peers import lines
from bench.peers.workload_file import NAMES, Arrays, load

# CrypTen's ONNX front end asks for onnx, tensorboard, and parts of torch.onnx that newer versions of torch dropped.
# Nothing else in CrypTen uses it, and neither does this benchmark: an empty module stands in for it.
_front_end = types.ModuleType("crypten.nn.onnx_converter")
vars(_front_end).update(from_onnx=None, from_pytorch=None, from_tensorflow=None, TF_AND_TF2ONNX=False)
sys.modules[_front_end.__name__] = _front_end

import crypten  # noqa: E402
from crypten.config import cfg  # noqa: E402

PARTIES = 2


def layer(hidden: Any, p: dict[str, Any], heads: int, epsilon: float, activation: str) -> Any:
    """One of BERT's layers. Shapes: [B, T, D] -> same."""
    attended = attention(linear(hidden, p, "qkv"), heads)
    hidden = layer_norm(hidden + linear(attended, p, "output"), p, "attention_norm", epsilon)
    inner = GELUS[activation](linear(hidden, p, "up"))
    return layer_norm(hidden + linear(inner, p, "down"), p, "feedforward_norm", epsilon)


def linear(x: Any, p: dict[str, Any], name: str) -> Any:
    """Shapes: [B, T, in] -> [B, T, out]."""
    return x.matmul(p[f"{name}.weight"]) + p[f"{name}.bias"]


def attention(qkv: Any, heads: int) -> Any:
    """Shapes: [B, T, 3D] -> [B, T, D]."""
    batch, tokens, triple = qkv.size()
    size = triple // 3 // heads

    def split(index: int) -> Any:
        part = qkv[:, :, index * heads * size : (index + 1) * heads * size]
        return part.reshape(batch, tokens, heads, size).transpose(1, 2)

    scores = (split(0) * (1 / math.sqrt(size))).matmul(split(1).transpose(2, 3))
    return scores.softmax(-1).matmul(split(2)).transpose(1, 2).reshape(batch, tokens, heads * size)


def layer_norm(x: Any, p: dict[str, Any], name: str, epsilon: float) -> Any:
    """CrypTen has none of its own: its mean, square and inverse square root."""
    centred = x - x.mean(-1, keepdim=True)
    variance = centred.square().mean(-1, keepdim=True)
    return centred * (variance + epsilon).inv_sqrt() * p[f"{name}.weight"] + p[f"{name}.bias"]


def gelu_erf(x: Any) -> Any:
    """With CrypTen's erf, a Taylor series of nine terms, which diverges from 1.5 on."""
    return x * (1 + x.div(math.sqrt(2)).erf()) * 0.5


def gelu_tanh(x: Any) -> Any:
    """The usual approximation of GeLU by tanh, with CrypTen's tanh."""
    inner = (x + x * x.square() * 0.044715) * math.sqrt(2 / math.pi)
    return x * (1 + inner.tanh()) * 0.5


GELUS = {"tanh": gelu_tanh, "erf": gelu_erf}


class Party:
    """One of the two, with its shares of the weights."""

    def __init__(self, rank: int, rendezvous: str, path: str, activation: str) -> None:
        os.environ |= {
            "WORLD_SIZE": str(PARTIES),
            "RANK": str(rank),
            "RENDEZVOUS": rendezvous,
            "DISTRIBUTED_BACKEND": "gloo",
            "GLOO_SOCKET_IFNAME": "lo",
        }
        # Two processes share the machine's cores, as the parties of every other system here do.
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // PARTIES))
        crypten.init()
        cfg.communicator.verbose = True
        workload = load(Path(path))
        self._activation, self._heads, self._epsilon = activation, workload.heads, workload.epsilon
        self._hidden = torch.from_numpy(workload.hidden)
        self._layers = [self._shared(values) for values in workload.layers]

    def _shared(self, values: Arrays) -> dict[str, Any]:
        # Only party 0's values count (src=0); the other's give the shape.
        return {name: crypten.cryptensor(torch.from_numpy(values.pop(name)), src=0) for name in NAMES}

    def run(self) -> tuple[torch.Tensor, lines.Answer]:
        """Share the input, compute, reveal the output."""
        crypten.reset_communication_stats()
        started = time.perf_counter()
        hidden = crypten.cryptensor(self._hidden, src=0)
        for values in self._layers:
            hidden = layer(hidden, values, self._heads, self._epsilon, self._activation)
        output = hidden.get_plain_text()
        seconds = time.perf_counter() - started
        stats = crypten.comm.get().get_communication_stats()
        return output, {
            "seconds": seconds,
            "logged_bytes": stats["bytes"],
            "rounds": stats["rounds"],
            "peak": lines.peak_memory_bytes(),
        }


def second_party(connection: Any, *arguments: Any) -> None:
    """The other process: run as often as it is told to, until party 0 ends."""
    party = Party(1, *arguments)
    try:
        while connection.recv():
            connection.send(party.run()[1])
    except EOFError:
        return


def main() -> int:
    """Serve the line protocol; this process is party 0."""
    path, activation = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:

        def prepare() -> tuple[lines.Answer, lines.Run]:
            started = time.perf_counter()
            rendezvous = f"file://{folder}/rendezvous"
            context = multiprocessing.get_context("spawn")
            connection, other_end = context.Pipe()
            arguments = (other_end, rendezvous, path, activation)
            context.Process(target=second_party, args=arguments, daemon=True).start()
            # Held by nobody but the child: its end is then seen here as the end of the connection.
            other_end.close()
            party = Party(0, rendezvous, path, activation)

            def run(command: lines.Answer) -> lines.Answer:
                connection.send(True)
                output, first = party.run()
                second = connection.recv()
                np.save(command["output"], output.numpy(), allow_pickle=False)
                both = (first, second)
                return {
                    "seconds": max(figures["seconds"] for figures in both),
                    # CrypTen logs what a party sends and what it receives, as one number.
                    "bytes_sent_per_party": sum(figures["logged_bytes"] for figures in both) / 2 / PARTIES,
                    "rounds": first["rounds"],
                    "peak_memory_bytes": {f"party {rank}": figures["peak"] for rank, figures in enumerate(both)},
                }

            names = ("crypten", "torch", "numpy")
            description = {
                "prepare_seconds": time.perf_counter() - started,
                "versions": {"python": sys.version.split()[0]} | {name: version(name) for name in names},
                "configuration": {
                    "protocol": "two parties, gloo over loopback, one process each",
                    "provider": cfg.mpc.provider,
                    "precision_bits": cfg.encoder.precision_bits,
                    "gelu": activation,
                    "exp_iterations": cfg.functions.exp_iterations,
                    "reciprocal_nr_iterations": cfg.functions.reciprocal_nr_iters,
                    "sqrt_nr_iterations": cfg.functions.sqrt_nr_iters,
                    "max_method": cfg.functions.max_method,
                    "threads_per_party": torch.get_num_threads(),
                },
            }
            return description, run

        return lines.serve(prepare)


if __name__ == "__main__":
    sys.exit(main())
