"""`python -m secure`: the command line."""

from __future__ import annotations

from secure.cli.main import main

if __name__ == "__main__":
    main()
