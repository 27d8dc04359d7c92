"""The protocol families that the conformance suite runs."""

from __future__ import annotations

from tests.in_process import BEAVER, Family
from tests.three_parties import combine, run_parties

REPLICATED = Family("replicated", run_parties, combine)
FAMILIES = (BEAVER, REPLICATED)
