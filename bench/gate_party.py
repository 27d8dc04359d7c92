"""python -P -m bench.gate_party ROLE --config parties.toml: one party that runs single gates."""

from __future__ import annotations

import sys

from bench.gate_engine import gate_engine
from secure.parties.process.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], gate_engine))
