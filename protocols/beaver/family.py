"""Two computing parties and a dealer, as clients and model owners see them."""

from __future__ import annotations

from secure.protocols.beaver import footprint, sharing
from secure.protocols.core.family import Family
from secure.protocols.core.secret import Visibility

BEAVER = Family(
    name="beaver",
    computing=("p0", "p1"),
    roles=("p0", "p1", "dealer"),
    weights=(Visibility.PRIVATE, Visibility.PUBLIC, Visibility.SERVER),
    on_cards=True,
    parts=(),
    share=sharing.share,
    open_payload=sharing.open_payload,
    pack_shares=sharing.pack_shares,
    reconstruct=lambda payloads, specs: sharing.reconstruct(payloads[0], payloads[1], specs),
    splitter=sharing.splitter,
    kept_bytes=footprint.kept_bytes,
    loading_bytes=footprint.loading_bytes,
)
