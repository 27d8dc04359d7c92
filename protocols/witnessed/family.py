"""Three evaluators and a dealer, as clients and model owners see them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from secure.protocols.core.errors import PartyDeviates
from secure.protocols.core.family import Family, Payload
from secure.protocols.core.secret import SecretSpec, Visibility
from secure.protocols.masked.pair import Pair
from secure.protocols.masked.sharing import three_parts
from secure.protocols.masked.weights import Matrix, PublicMatrix, PublicWeight, Weight
from secure.protocols.witnessed import footprint
from secure.protocols.witnessed.outline import TwoDealersOutline, WitnessedOutline
from secure.protocols.witnessed.secret import PreparedParts


def _reconstruct(payloads: Sequence[Payload], specs: Mapping[str, SecretSpec]) -> dict[str, Tensor]:
    """The outputs, as `three_parts.reconstruct` gives them. Raises PartyDeviates, which names whose answers differ."""
    if odd := three_parts.odd_answer(payloads, specs):
        raise PartyDeviates(odd.parties, "the output", f"they sent {odd.what}", "client")
    return three_parts.reconstruct(payloads, specs)


WITNESSED = Family(
    name="witnessed",
    computing=("p0", "p1", "p2"),
    roles=("p0", "p1", "p2", *footprint.DEALERS[:1]),
    security="malicious",
    stocks=True,
    serves_all=True,
    garbles=False,
    sides=2,
    weights=(Visibility.PRIVATE, Visibility.PUBLIC),
    on_cards=False,
    parts=(2,),
    share=three_parts.share,
    open_payload=three_parts.open_payload,
    pack_shares=three_parts.pack_shares,
    sent_bytes=three_parts.sent_bytes,
    answer_bytes=three_parts.answer_bytes,
    held_by_two=lambda index, payload: (),
    reconstruct=_reconstruct,
    splitter=three_parts.splitter,
    outline=WitnessedOutline,
    kept=(PreparedParts, Weight, PublicWeight, Matrix, PublicMatrix, Pair),
    kept_bytes=footprint.kept_bytes,
    loading_bytes=footprint.loading_bytes,
)

TWO_DEALERS = replace(
    WITNESSED,
    name="witnessed-two-dealers",
    roles=(*WITNESSED.computing, *footprint.DEALERS),
    # A tape is confirmed by nobody later, and two dealers who deal ahead would have to name deals to each other.
    stocks=False,
    outline=TwoDealersOutline,
)
"""Three evaluators and two dealers, of whom the second one confirms what the first one deals."""
