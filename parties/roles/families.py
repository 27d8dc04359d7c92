"""How the roles of each family meet in a session: one line for each family.

What a family is without a network is an entry of `secure.protocols.families`, which may not know of sessions.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from secure.parties.roles.dealer import TwoPartDealingRole
from secure.parties.roles.hybrid.role import OneOfTwo
from secure.parties.roles.party import ComputingRole
from secure.parties.roles.role import Role
from secure.parties.roles.three_parties import OneOfThree
from secure.parties.roles.two_dealers import EvaluatingWithTwo, FirstOfTwoDealers, SecondOfTwoDealers
from secure.parties.roles.witnessed import EvaluatingRole, ThreePartDealingRole
from secure.protocols.beaver.family import BEAVER
from secure.protocols.hybrid.family import HYBRID
from secure.protocols.replicated.family import REPLICATED
from secure.protocols.witnessed.family import TWO_DEALERS, WITNESSED

ROLES: Mapping[str, Mapping[str, type[Role]]] = MappingProxyType(
    {
        BEAVER.name: {"p0": ComputingRole, "p1": ComputingRole, "dealer": TwoPartDealingRole},
        REPLICATED.name: dict.fromkeys(REPLICATED.roles, OneOfThree),
        WITNESSED.name: {**dict.fromkeys(WITNESSED.computing, EvaluatingRole), "dealer": ThreePartDealingRole},
        TWO_DEALERS.name: {
            **dict.fromkeys(TWO_DEALERS.computing, EvaluatingWithTwo),
            "dealer": FirstOfTwoDealers,
            "dealer2": SecondOfTwoDealers,
        },
        HYBRID.name: dict.fromkeys(HYBRID.roles, OneOfTwo),
    }
)
"""By family, and by role."""
