"""The key's streams: distributions, independence of labels, and what the epoch moves."""

from __future__ import annotations

import hashlib
import math

import pytest
import torch
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from secure.protocols.core.aes import NONCE_BYTES, counter_mode
from secure.protocols.core.errors import InputError
from secure.protocols.equivariant import FACTORS, Key

KEY = Key(bytes(range(32)))


def test_a_generated_key_is_new() -> None:
    first, second = Key.generate(), Key.generate()
    assert first.secret != second.secret
    assert len(first.secret) == 32
    assert first.epoch == 0


@pytest.mark.parametrize("size", [0, 16, 31, 33])
def test_other_lengths_are_refused(size: int) -> None:
    with pytest.raises(InputError, match=f"32 bytes, this one has {size}"):
        Key(bytes(size))


def test_a_negative_epoch_is_refused() -> None:
    with pytest.raises(InputError, match="epoch"):
        Key(bytes(32), -1)


def test_the_secret_is_not_shown() -> None:
    shown = repr(KEY) + repr(KEY.stream("qk", "0"))
    assert KEY.secret.hex() not in shown
    assert repr(KEY.secret) not in shown


def test_streams_are_hkdf_and_aes() -> None:
    """Against the package's HKDF, so that a key file can be used without this library."""
    labels = [b"stream", b"qk", b"3"]
    info = b"".join(len(label).to_bytes(4, "big") + label for label in labels)
    derive = HKDF(hashes.SHA256(), 16, b"secure-inference equivariant 1", info)
    expected = torch.empty(64, dtype=torch.uint8)
    counter_mode(derive.derive(KEY.secret)).fill(bytes(NONCE_BYTES), expected.numpy())
    assert torch.equal(KEY.stream("qk", "3").words(8).view(torch.uint8), expected)


def test_draws_and_labels_differ() -> None:
    stream = KEY.stream("qk", "0")
    draws = [stream.words(4), stream.words(4)]
    for labels in (("qk", "1"), ("vo", "0"), ("qk",), ("q", "k0"), ("qk0",)):
        draws.append(KEY.stream(*labels).words(4))
    draws.append(Key(bytes(32)).stream("qk", "0").words(4))
    assert len({tuple(draw.tolist()) for draw in draws}) == len(draws)
    assert torch.equal(KEY.stream("qk", "0").words(4), draws[0])


def test_the_epoch_moves_the_vocabulary_alone() -> None:
    later = KEY.rekeyed()
    assert later.epoch == 1
    for factor in FACTORS:
        same = torch.equal(KEY.stream(factor, "0").words(4), later.stream(factor, "0").words(4))
        assert same is (factor != "vocabulary")


def test_check_values_tell_keys_and_epochs_apart() -> None:
    values = {key.check_value for key in (KEY, KEY.rekeyed(), Key(bytes(32)), Key(bytes(32)).rekeyed())}
    assert len(values) == 4
    assert KEY.check_value == Key(bytes(range(32))).check_value
    assert len(bytes.fromhex(KEY.check_value)) == 16
    assert KEY.check_value != hashlib.sha256(KEY.secret).hexdigest()[:32]


def test_streams_of_different_labels_are_uncorrelated() -> None:
    first, second = KEY.stream("qk", "0").normal(100_000), KEY.stream("qk", "1").normal(100_000)
    # Standard deviation of the mean product is 1/√n = 0.0032; five of them.
    assert abs(float((first * second).mean())) < 0.016


def test_uniform_and_angles() -> None:
    values = KEY.stream("test").uniform(100_000, -1.0, 3.0)
    assert -1.0 <= float(values.min()) < -0.999 and 2.999 < float(values.max()) < 3.0
    # Sixteen bins of 6,250: χ² with 15 degrees of freedom is above 37.7 once in a thousand.
    bins = torch.histc(values, 16, -1.0, 3.0)
    assert float(((bins - 6250.0) ** 2 / 6250.0).sum()) < 37.7
    angles = KEY.stream("angles").angles(100_000)
    assert float(angles.min()) >= 0.0 and float(angles.max()) < 2 * math.pi
    assert abs(float(angles.cos().mean())) < 0.012


def test_normal() -> None:
    values = KEY.stream("test").normal(300, 401)
    assert values.shape == (300, 401)
    # Five standard deviations of each moment, n = 120,300.
    assert abs(float(values.mean())) < 0.0145
    assert abs(float(values.var()) - 1.0) < 0.0205
    assert abs(float((values**4).mean()) - 3.0) < 0.142
    assert float(values.abs().max()) < 7.0


def test_integers_and_signs() -> None:
    values = KEY.stream("test").integers(70_000, 7)
    assert sorted(set(values.tolist())) == list(range(7))
    # χ² with 6 degrees of freedom is above 22.5 once in a thousand.
    assert float(((torch.bincount(values) - 10_000.0) ** 2 / 10_000.0).sum()) < 22.5
    signs = KEY.stream("test").signs(10_000)
    assert set(signs.tolist()) == {-1.0, 1.0}
    assert abs(float(signs.mean())) < 0.05


def test_permutations_are_uniform() -> None:
    """All 24 orders of four, 12,000 draws: χ² with 23 degrees of freedom is above 49.7 once in a thousand."""
    orders = KEY.stream("test").permutations(4, 12_000)
    assert torch.equal(orders.sort(1).values, torch.arange(4).expand(12_000, 4))
    counts = torch.bincount((orders * torch.tensor([64, 16, 4, 1])).sum(1))
    counts = counts[counts > 0]
    assert len(counts) == 24
    assert float(((counts - 500.0) ** 2 / 500.0).sum()) < 49.7


def test_orthogonal_matrices_are_haar() -> None:
    q = KEY.stream("test").orthogonal(4, 20_000)
    assert float((q @ q.mT - torch.eye(4, dtype=torch.float64)).abs().max()) < 1e-12
    # Haar: each entry has mean 0 and variance 1/n; the trace has variance 1; both determinants are as likely.
    assert float(q.mean(0).abs().max()) < 5 * 0.5 / math.sqrt(20_000)
    assert float((q**2).mean(0).sub(0.25).abs().max()) < 0.01
    traces = q.diagonal(dim1=1, dim2=2).sum(1)
    assert abs(float(traces.var()) - 1.0) < 0.06
    assert abs(float(torch.linalg.det(q).sign().mean())) < 0.036


def test_scales_and_invertible_matrices_are_well_conditioned() -> None:
    scales = KEY.stream("test").scales(10_000, 4.0)
    assert 0.5 <= float(scales.min()) < 0.51 and 1.96 < float(scales.max()) < 2.0
    conditions = torch.linalg.cond(KEY.stream("test").invertible(16, 4.0, 200)[0])
    assert 3.0 < float(conditions.max()) <= 4.0 * (1 + 1e-12)
