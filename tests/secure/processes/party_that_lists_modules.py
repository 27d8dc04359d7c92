"""A party as `python -m secure.parties` runs it, which at its end writes what it has imported beside its settings."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

if __name__ == "__main__":
    try:
        runpy.run_module("secure.parties", run_name="__main__", alter_sys=True)
    finally:
        config = Path(sys.argv[sys.argv.index("--config") + 1])
        config.with_name(f"{sys.argv[1]}.modules").write_text(json.dumps(sorted(sys.modules)))
