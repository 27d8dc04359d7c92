"""python -P -m bench.link.party ROLE --config parties.toml: one party that only talks."""

from __future__ import annotations

import sys

from bench.link.engine import talk_engine
from secure.parties.process.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], talk_engine))
