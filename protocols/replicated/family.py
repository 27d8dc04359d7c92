"""Three computing parties, as clients and model owners see them."""

from __future__ import annotations

from secure.protocols.core.family import Family
from secure.protocols.core.secret import Visibility
from secure.protocols.masked.sharing import three_parts
from secure.protocols.replicated import footprint
from secure.protocols.replicated.outline import ReplicatedOutline

REPLICATED = Family(
    name="replicated",
    computing=("p0", "p1", "p2"),
    roles=("p0", "p1", "p2"),
    security="semi-honest",
    stocks=False,
    serves_all=True,
    garbles=False,
    sides=1,
    weights=(Visibility.PRIVATE, Visibility.PUBLIC),
    on_cards=False,
    parts=(2,),
    share=three_parts.share,
    open_payload=three_parts.open_payload,
    pack_shares=three_parts.pack_shares,
    sent_bytes=three_parts.sent_bytes,
    answer_bytes=three_parts.answer_bytes,
    held_by_two=three_parts.held_by_two,
    reconstruct=three_parts.reconstruct,
    splitter=three_parts.splitter,
    outline=ReplicatedOutline,
    kept_bytes=footprint.kept_bytes,
    loading_bytes=footprint.loading_bytes,
)
