"""`python -P -m secure.parties ROLE --config parties.toml`: one party in this process."""

from __future__ import annotations

import sys

from secure.parties.process.main import main
from secure.parties.process.model_engine import model_engine

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], model_engine))
