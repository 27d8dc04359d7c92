"""Settings that make every run of the tests repeatable and independent of the network."""

from __future__ import annotations

import os
import tempfile

# Read by torch when it is imported. Tests run in several processes, one for each core, and each has a thread for each
# party: more threads below those wait for each other, which takes a fifth of the time.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from hypothesis import settings

# Read by transformers and tokenizers when they are imported, which happens after this file.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

# Counts of tokens under a key outlive a program, and must not be those of whoever runs the tests.
_STATE = tempfile.TemporaryDirectory(prefix="secure-inference-state-")
os.environ["XDG_STATE_HOME"] = _STATE.name

# Read by Triton when a loop of `secure.protocols.core.kernels.card` is defined: without a card they are interpreted.
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"

# No deadline: how long an example takes says more about the machine than about the code.
settings.register_profile("repeatable", derandomize=True, database=None, deadline=None, print_blob=True)
settings.load_profile("repeatable")
