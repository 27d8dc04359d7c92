"""What a request is estimated to take, against what it takes, and without taking it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from secure.models import program
from secure.models.contract.manifest import Manifest
from secure.models.contract.request import Request
from secure.models.families.bert import BertConfig, parameters
from secure.models.program import network
from secure.models.storage.working_set import working_set_bytes
from secure.parties.process.model_engine import _Discard, _Nobody
from secure.protocols.beaver.protocol import BeaverDealer
from secure.protocols.core.fixedpoint import FixedPointPolicy

POLICY = FixedPointPolicy()
BASE = BertConfig(30522, 768, 12, 12, 3072, 512, 2, 1e-12)
TABLE = BertConfig(30522, 64, 1, 2, 64, 512, 2, 1e-12)
SCORES = BertConfig(100, 64, 1, 4, 128, 512, 2, 1e-12)
WIDE = BertConfig(100, 64, 1, 2, 2048, 512, 2, 1e-12)


def bert(config: BertConfig) -> Manifest:
    sizes = parameters(config, POLICY.fraction_bits, public=False)
    return Manifest("bert", config.to_dict(), POLICY, "private", sizes)


def test_the_largest_request_is_estimated_without_being_allocated() -> None:
    """Its table of positions alone has 512 GB of words at a party that is sent 16 bytes for it."""
    request = Request("hidden", 4096, 512, False)
    assert working_set_bytes(network(bert(replace(BASE, num_hidden_layers=1))), request) > 512e9


@pytest.mark.parametrize("config", [TABLE, SCORES, WIDE])
def test_an_estimate_grows_with_the_request(config: BertConfig) -> None:
    net = network(bert(config))
    sizes = [working_set_bytes(net, Request("hidden", *shape, True)) for shape in ((1, 8), (2, 8), (2, 64), (8, 64))]
    assert sizes == sorted(set(sizes))
    assert sizes[1] == 2 * sizes[0]


def resident_bytes(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


@pytest.mark.slow
@pytest.mark.parametrize(("config", "shape"), [(TABLE, (4, 128)), (SCORES, (4, 256)), (WIDE, (4, 128))])
def test_the_dealer_takes_no_more_than_was_estimated(config: BertConfig, shape: tuple[int, int]) -> None:
    manifest = bert(config)

    def dealer() -> BeaverDealer:
        return BeaverDealer((os.urandom(16), os.urandom(16)), os.urandom(16), _Discard(), POLICY)

    model = program.load(dealer(), manifest, None)
    program.serve(dealer(), model, Request("hidden", 1, 4, True), _Nobody(), None)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, request = resident_bytes("VmRSS"), Request("hidden", *shape, True)
    program.serve(dealer(), model, request, _Nobody(), None)
    assert resident_bytes("VmHWM") - before < working_set_bytes(network(manifest), request)
