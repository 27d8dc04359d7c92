"""Rounds by themselves, between real processes."""

from __future__ import annotations

import pytest

from bench.link.command import measure_link, sizes_of
from secure.protocols.core.errors import ConfigurationError


@pytest.mark.parametrize("text", ["", "64;128", "64,-1"])
def test_sizes_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="no list of sizes in bytes"):
        sizes_of(text)


@pytest.mark.slow
@pytest.mark.processes
def test_a_round_is_measured_by_size_of_message() -> None:
    record = measure_link([0, 100_000], 20, 1, "loopback")
    assert [row["message_bytes"] for row in record["sizes"]] == [0, 100_000]
    for row in record["sizes"]:
        assert row["microseconds"] >= row["least"] > 0
        assert all(row["cpu_microseconds"][role] >= row["thread_microseconds"][role] > 0 for role in ("p0", "p1"))
