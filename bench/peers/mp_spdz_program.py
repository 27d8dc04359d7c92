"""The encoder as an MP-SPDZ program, of MP-SPDZ's own BERT layers, compiled for its four-party ring protocol.

It runs in a process of its own, with MP-SPDZ's folder as working directory and on the path (its compiler keeps one
program a process, and writes beside its sources): python -m bench.peers.mp_spdz_program WORKLOAD NAME.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from bench.peers.workload_file import Arrays, load

RING_BITS = 64
TIMER = 1
"""MP-SPDZ prints seconds, bytes and rounds of this timer; it runs from the shared input to the shared output."""
PROBABILISTIC = True
"""Truncation that is off by one with the probability of the bits cut off, as ours is: MP-SPDZ's fastest."""
_NO_DROPOUT = 0.0


def state(layer: Arrays) -> dict[str, np.ndarray[Any, np.dtype[np.float32]]]:
    """A layer's arrays under the names, and in the [out, in] form, of transformers. Shapes: arrays by `NAMES`."""
    weights = dict(zip(("query", "key", "value"), np.split(layer["qkv.weight"], 3, axis=1), strict=True))
    biases = dict(zip(("query", "key", "value"), np.split(layer["qkv.bias"], 3), strict=True))
    found = {f"attention.self.{name}.weight": weight.T for name, weight in weights.items()}
    found |= {f"attention.self.{name}.bias": bias for name, bias in biases.items()}
    for theirs, ours in (("attention.output", "output"), ("intermediate", "up"), ("output", "down")):
        found[f"{theirs}.dense.weight"] = layer[f"{ours}.weight"].T
        found[f"{theirs}.dense.bias"] = layer[f"{ours}.bias"]
    for theirs, ours in (("attention.output", "attention_norm"), ("output", "feedforward_norm")):
        found[f"{theirs}.LayerNorm.weight"] = layer[f"{ours}.weight"]
        found[f"{theirs}.LayerNorm.bias"] = layer[f"{ours}.bias"]
    return found


def main() -> int:
    """Compile, and write the binary input file of party 0, who has weights and input."""
    path, name = sys.argv[1:]
    work = load(Path(path))
    from Compiler.compilerLib import Compiler  # type: ignore[import-not-found]

    compiler = Compiler(custom_args=["--ring", str(RING_BITS)])

    @compiler.register_function(name)  # type: ignore[untyped-decorator]
    def encoder() -> None:
        # These take the program that is being compiled from each other while they are imported, so not before.
        from Compiler import library, ml, types  # type: ignore[import-not-found]

        compiler.prog.use_trunc_pr = PROBABILISTIC
        batch, tokens, width = work.hidden.shape
        first = types.sfix.input_tensor_via(0, work.hidden)
        layers = []
        for arrays in work.layers:
            layer = ml.BertLayer(
                batch, tokens, width, arrays["up.bias"].shape[0], work.heads, work.epsilon, _NO_DROPOUT
            )
            layer.load_state_dict(state(arrays), 0)
            layers.append(layer)
        rows = types.regint.Array(batch)
        rows.assign(types.regint.inc(batch))
        library.start_timer(TIMER)
        hidden = first
        for layer in layers:
            layer.X.address = hidden.address
            layer.Y.alloc()
            layer.forward(rows)
            hidden = layer.Y
        library.stop_timer(TIMER)
        hidden.get_vector().v.reveal().binary_output(0)

    compiler.compile_func()
    return 0


if __name__ == "__main__":
    sys.exit(main())
