"""A client and a model's owner, as clients and model owners see them."""

from __future__ import annotations

from secure.protocols.core.cost import CostTally
from secure.protocols.core.family import Family
from secure.protocols.core.fixedpoint import FixedPointPolicy
from secure.protocols.core.secret import Protocol, Visibility
from secure.protocols.hybrid import footprint
from secure.protocols.hybrid.weights import OwnerMatrix, OwnerVector
from secure.protocols.masked.sharing import two_parts


def _outline(policy: FixedPointPolicy, tally: CostTally) -> Protocol:
    # Here, as gates compile their loops when they are imported: a card's host may lack the compiler.
    from secure.protocols.hybrid.outline import HybridOutline

    return HybridOutline(policy, tally)


def _outline_of_transfers(policy: FixedPointPolicy, tally: CostTally) -> Protocol:
    from secure.protocols.hybrid.outline import HybridOutline

    return HybridOutline(policy, tally, "nobody")


HYBRID = Family(
    name="hybrid",
    computing=("p0", "p1"),
    roles=("p0", "p1"),
    security="semi-honest",
    stocks=True,
    serves_all=False,
    garbles=True,
    sides=1,
    weights=(Visibility.SERVER,),
    on_cards=False,
    parts=(),
    share=two_parts.share,
    open_payload=two_parts.open_payload,
    pack_shares=two_parts.pack_shares,
    sent_bytes=two_parts.sent_bytes,
    answer_bytes=two_parts.answer_bytes,
    held_by_two=lambda index, payload: (),
    reconstruct=lambda payloads, specs: two_parts.reconstruct(payloads[0], payloads[1], specs),
    splitter=two_parts.splitter,
    outline=_outline,
    other_outline=_outline_of_transfers,
    checks_one_hot=False,
    kept=(OwnerVector, OwnerMatrix),
    kept_bytes=footprint.kept_bytes,
    loading_bytes=footprint.loading_bytes,
)
