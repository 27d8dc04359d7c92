"""`python -P -m parties ROLE --config parties.toml`: one party in this process."""

from __future__ import annotations

import sys

from parties.main import main
from parties.model_engine import model_engine

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], model_engine))
