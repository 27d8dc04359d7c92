"""Three computing parties, as clients and model owners see them."""

from __future__ import annotations

from secure.protocols.core.family import Family
from secure.protocols.core.secret import Visibility
from secure.protocols.replicated import footprint, sharing

REPLICATED = Family(
    name="replicated",
    computing=("p0", "p1", "p2"),
    roles=("p0", "p1", "p2"),
    weights=(Visibility.PRIVATE, Visibility.PUBLIC),
    on_cards=False,
    parts=(2,),
    share=sharing.share,
    open_payload=sharing.open_payload,
    pack_shares=sharing.pack_shares,
    reconstruct=sharing.reconstruct,
    splitter=sharing.splitter,
    kept_bytes=footprint.kept_bytes,
    loading_bytes=footprint.loading_bytes,
)
