"""The protocol families that the conformance suite runs."""

from __future__ import annotations

from tests.four_roles import run_evaluators
from tests.in_process import BEAVER, Family
from tests.three_parties import combine, run_parties

REPLICATED = Family("replicated", run_parties, combine)
WITNESSED = Family("witnessed", run_evaluators, combine)
FAMILIES = (BEAVER, REPLICATED)
"""What is written over primitives is tested in these two: the third one evaluates the programs of the first."""
ALL_FAMILIES = (*FAMILIES, WITNESSED)
