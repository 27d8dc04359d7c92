"""Fixed-point numbers and the policy that describes them."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from secure.protocols.core import integer_functions
from secure.protocols.core.errors import BoundError, ConfigurationError
from secure.protocols.core.fixedpoint import FixedPointPolicy, decode, encode


@given(st.floats(-8191.99, 8191.99), st.integers(0, 22))
def test_encode_is_the_nearest_element(x: float, fraction_bits: int) -> None:
    encoded = encode(torch.tensor([x], dtype=torch.float64), fraction_bits, bound_bits=13, what="x")
    assert encoded.dtype == torch.int64
    assert abs(encoded.item() - x * 2**fraction_bits) <= 0.5
    assert decode(encoded, fraction_bits).item() == encoded.item() / 2**fraction_bits


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(), (1,), (2, 3), (0,)])
def test_encode_takes_every_float_and_shape(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    encoded = encode(torch.full(shape, -1.5, dtype=dtype), 16, bound_bits=13, what="x")
    assert torch.equal(encoded, torch.full(shape, -98304))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (math.nan, "NaN or infinite"),
        (math.inf, "NaN or infinite"),
        (-math.inf, "NaN or infinite"),
        (8192.0, "2\\^13"),
        (-8192.0, "2\\^13"),
        (1e30, "2\\^13"),
    ],
)
def test_encode_refuses(value: float, message: str) -> None:
    x = torch.tensor([0.5, value, 0.25], dtype=torch.float64)
    with pytest.raises(BoundError, match=f"encoder.weight.*{message}") as caught:
        encode(x, 16, bound_bits=13, what="encoder.weight")
    assert "0.25" not in str(caught.value), "no message holds a value"


def test_encode_takes_what_is_just_inside() -> None:
    x = torch.tensor([8192 - 2.0**-16, -8192 + 2.0**-16], dtype=torch.float64)
    assert encode(x, 16, bound_bits=13, what="x").tolist() == [2**29 - 1, 1 - 2**29]


def test_policy_round_trip() -> None:
    policy = FixedPointPolicy(fraction_bits=15, value_bits=14, truncation="exact", functions="puma")
    assert FixedPointPolicy.from_dict(policy.to_dict()) == policy
    assert policy.to_dict() == {"fraction_bits": 15, "value_bits": 14, "truncation": "exact", "functions": "puma"}


CHANGES = {"fraction_bits": 15, "value_bits": 12, "truncation": "exact", "functions": "puma"}


def test_every_field_has_a_row() -> None:
    assert set(CHANGES) == {field.name for field in dataclasses.fields(FixedPointPolicy)}


@pytest.mark.parametrize("field", CHANGES)
def test_digest_depends_on_every_field(field: str) -> None:
    others = {"functions": "puma"} if field == "fraction_bits" else {}  # ours are made for 16
    changed = FixedPointPolicy.from_dict({**others, field: CHANGES[field]})
    assert changed.digest() != FixedPointPolicy.from_dict(others).digest()
    assert changed.digest() == FixedPointPolicy.from_dict({**others, field: CHANGES[field]}).digest()


def test_digest_depends_on_the_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    before = FixedPointPolicy().digest()
    monkeypatch.setattr(integer_functions, "digest", lambda: "other tables")
    assert FixedPointPolicy().digest() != before


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"truncation": "local"}, "probabilistic.*exact.*local"),
        ({"functions": "spu"}, "'ours' or 'puma', not 'spu'"),
        ({"functions": "puma", "value_bits": 12}, "value_bits 13 or more, not 12"),
        ({"fraction_bits": 7}, "fraction_bits 7"),
        ({"fraction_bits": 12}, "16 fraction bits, not 12; functions='puma' takes others"),
        ({"fraction_bits": 17, "value_bits": 11}, "16 fraction bits, not 17"),
        ({"fraction_bits": 17}, "do not fit"),
        ({"value_bits": 14}, "do not fit"),
        ({"fraction": 16}, "unknown fixed-point field 'fraction'"),
    ],
)
def test_policy_refuses(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        FixedPointPolicy.from_dict(values)


def test_policy_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        FixedPointPolicy().value_bits = 10  # type: ignore[misc]
