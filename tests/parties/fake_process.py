"""One party's process with the fake engine: `python -m tests.parties.fake_process ROLE --config TOML`."""

from __future__ import annotations

import sys

from secure.parties.config import Limits
from secure.parties.process.main import main
from secure.parties.roles.engine import Engine
from tests.parties.fakes import FakeEngine


def fake_engine(limits: Limits, device: str) -> Engine:
    return FakeEngine()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], fake_engine))
