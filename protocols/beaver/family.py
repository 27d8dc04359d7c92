"""Two computing parties and a dealer, as clients and model owners see them."""

from __future__ import annotations

from secure.protocols.beaver.outline import BeaverOutline
from secure.protocols.core.family import Family
from secure.protocols.core.secret import Visibility
from secure.protocols.masked.dealt import footprint
from secure.protocols.masked.pair import Pair
from secure.protocols.masked.sharing import two_parts
from secure.protocols.masked.weights import Matrix, PublicMatrix, PublicWeight, ServerMatrix, Weight

BEAVER = Family(
    name="beaver",
    computing=("p0", "p1"),
    roles=("p0", "p1", "dealer"),
    security="semi-honest",
    stocks=True,
    serves_all=True,
    garbles=False,
    sides=1,
    weights=(Visibility.PRIVATE, Visibility.PUBLIC, Visibility.SERVER),
    on_cards=True,
    parts=(),
    share=two_parts.share,
    open_payload=two_parts.open_payload,
    pack_shares=two_parts.pack_shares,
    sent_bytes=two_parts.sent_bytes,
    answer_bytes=two_parts.answer_bytes,
    held_by_two=lambda index, payload: (),
    reconstruct=lambda payloads, specs: two_parts.reconstruct(payloads[0], payloads[1], specs),
    splitter=two_parts.splitter,
    outline=BeaverOutline,
    kept=(Weight, PublicWeight, Matrix, ServerMatrix, PublicMatrix, Pair),
    kept_bytes=footprint.kept_bytes,
    loading_bytes=footprint.loading_bytes,
)
