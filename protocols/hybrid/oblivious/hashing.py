"""What labels are hashed with where a transfer's correlation has to be broken.

H_k(x) = AES_k(σ(x)) ⊕ σ(x) as in `secure.protocols.hybrid.garbled.engine`, with a key for each run of 1024 labels: the
keys of a run of keys, whose start is fresh for every call. They are no secrets.
"""

from __future__ import annotations

import numpy as np

from secure.protocols.core.kernels.cpu.compiler import Array, compiled
from secure.protocols.hybrid.ciphers import Hash, expanded, key
from secure.protocols.hybrid.oblivious import kernels
from secure.protocols.hybrid.oblivious.kernels import RUN
from secure.protocols.hybrid.vectors import Form, fastest

_STEP = 4


def hashed(labels: Array, start: bytes, offset: Array | None = None, form: Form | str | None = "fastest") -> Array:
    """H(x ⊕ offset) of every label x. form: of the vectors, None for OpenSSL. Shapes: uint64 [n, 2], [2] -> [n, 2]."""
    count, shift = len(labels), np.zeros(2, np.uint64) if offset is None else offset
    runs = -(-count // RUN)
    chosen = fastest() if isinstance(form, str) else form
    if chosen is None:
        parts = [labels[i * RUN : (i + 1) * RUN] ^ shift for i in range(runs)]
        found: Array = np.concatenate([Hash(key(start, i))(part) for i, part in enumerate(parts)])
        return found
    room = np.zeros((count + -count % _STEP, 2), np.uint64)
    room[:count] = labels
    compiled(kernels.hash_labels)(chosen, room.reshape(-1), np.tile(shift, 4), expanded(start, runs), room.reshape(-1))
    return room[:count]
