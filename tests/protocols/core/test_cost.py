"""Costs add up, and the meter attributes what happens inside a gate to its layer and op."""

from __future__ import annotations

import pytest

from secure.protocols.core.cost import Cost, Meter


def test_costs_add() -> None:
    assert Cost(1, 2, 3) + Cost(10, 20, 30) == Cost(11, 22, 33)
    assert sum([Cost(1, 2, 3)] * 3, Cost()) == Cost(3, 6, 9)


def test_what_one_party_sends_alone() -> None:
    cost = Cost(2, 8, 5, p0_bytes=3) + Cost(1, p1_bytes=16)
    assert (cost.at("p0"), cost.at("p1"), cost.at("dealer")) == (Cost(3, 11), Cost(3, 24, 5), Cost(0, 0, 5))
    assert cost.both_bytes == 2 * 8 + 3 + 16


def test_meter_attributes_to_layer_and_op() -> None:
    meter = Meter()
    with meter.gate("encoder.0", "open", Cost(1, 8, 0)):
        meter.exchanged(8)
    with meter.gate("encoder.0", "open", Cost(1, 16, 0)):
        meter.exchanged(16)
    with meter.gate("encoder.0", "lift", Cost(0, 0, 10)):
        meter.dealt(4)
        meter.dealt(6)
    with meter.gate("encoder.1", "open", Cost(1, 1, 0)):
        meter.exchanged(1)
    assert meter.rows["encoder.0", "open"].measured == Cost(2, 24, 0) == meter.rows["encoder.0", "open"].declared
    assert meter.rows["encoder.0", "lift"].measured == Cost(0, 0, 10)
    assert meter.total == Cost(3, 25, 10)


def test_snapshot_is_plain() -> None:
    meter = Meter()
    with meter.gate("pooler", "open", Cost(1, 8, 0)):
        meter.exchanged(8)
    (row,) = meter.snapshot()
    assert row.pop("seconds") >= 0
    assert row == {"layer": "pooler", "op": "open", "calls": 1, "rounds": 1, "online_bytes": 8, "dealer_bytes": 0}
    assert Meter().snapshot() == [] and Meter().total == Cost()


def test_a_failing_gate_still_ends() -> None:
    meter = Meter()
    with pytest.raises(ValueError, match="inside"), meter.gate("layer", "open", Cost(1, 8, 0)):
        meter.exchanged(8)
        raise ValueError("inside")
    meter.exchanged(100)  # outside of every gate: nobody's
    assert meter.total == Cost(1, 8, 0)
    assert meter.rows["layer", "open"].calls == 1
