"""What measurements may change: phases apart, and the network that is imitated."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from secure.parties.client.client import Client, Prediction
from secure.parties.config import PARTIES, Limits, Measure, PartiesSettings
from secure.parties.settings_file import load_settings, settings_toml
from secure.parties.transport.frames import AnyFrame, DataFrame
from secure.parties.transport.prefetch import Line, Prefetch, shaped
from secure.parties.transport.wire_pb2 import End, Frame
from secure.protocols.core.errors import ConfigurationError, ProtocolError
from tests.parties.fakes import FakeManifest, FakeRequest
from tests.parties.local import LocalParties

DELAY = Measure(delay_seconds=0.1)
SLOW = Measure(bytes_per_second=1000, delay_seconds=2)


def data_frames(count: int, length_bytes: int = 4) -> Iterator[AnyFrame]:
    for index in range(count):
        yield DataFrame(index, length_bytes, bytes(length_bytes))


def test_a_line_delays_frames_side_by_side() -> None:
    line = Line(replace(SLOW, bytes_per_second=float("inf")))
    assert [line.due(10.0, 500), line.due(10.0, 500), line.due(11.0, 0)] == [12.0, 12.0, 13.0]


def test_a_line_takes_the_bytes_one_after_the_other() -> None:
    line = Line(SLOW)
    # Half a second each; the third finds the line busy until 11, the last one finds it idle.
    assert [line.due(10.0, 500), line.due(10.0, 500), line.due(10.9, 100)] == [12.5, 13.0, pytest.approx(13.1)]
    assert line.due(20.0, 1000) == 23.0


def test_frames_come_late_and_in_order() -> None:
    """Side by side, as `Line` has it: not one delay each."""
    started = time.monotonic()
    assert [frame.sequence for frame in Prefetch(data_frames(50), None, DELAY)] == list(range(50))
    assert time.monotonic() - started >= DELAY.delay_seconds


def test_a_rate_holds_frames_back() -> None:
    started = time.monotonic()
    assert len(list(Prefetch(data_frames(10, 1000), None, Measure(bytes_per_second=100_000)))) == 10
    assert time.monotonic() - started >= 0.1


def test_without_measurement_a_stream_is_left_alone() -> None:
    frames = data_frames(1)
    assert shaped(frames, Measure(offline_first=True)) is frames
    assert shaped(frames, DELAY) is not frames


def test_complete_means_that_the_end_has_come() -> None:
    last = threading.Event()

    def frames() -> Iterator[AnyFrame]:
        yield from data_frames(5, 1000)
        last.wait()
        yield Frame(sequence=5, end=End())

    ahead = Prefetch(frames(), None, Measure())
    waiting = threading.Thread(target=ahead.wait_until_complete)
    waiting.start()
    waiting.join(0.05)
    assert waiting.is_alive()
    last.set()
    waiting.join(60)
    assert not waiting.is_alive()
    # Nothing was read meanwhile, and nothing is lost.
    assert [frame.sequence for frame in ahead] == list(range(6))


def test_a_broken_stream_is_complete_too() -> None:
    ahead = Prefetch(data_frames(2), None, Measure())
    ahead.wait_until_complete()
    assert len(list(ahead)) == 2


@contextmanager
def measured(
    settings: PartiesSettings, measure: Measure, shares: dict[str, Path]
) -> Iterator[Callable[..., Prediction]]:
    """Predictions by three servers that measure so; small limits, so that what is held beyond them shows."""
    settings = replace(settings, measure=measure, limits=replace(settings.limits, dealer_receive_bytes=1000))
    parties, manifest = LocalParties(settings), FakeManifest()
    with Client(settings) as client:
        client.load_model(manifest, shares)

        def predict(**request: int | str) -> Prediction:
            return client.predict(manifest.digest, manifest.policy.digest(), FakeRequest(**request), (b"ab", b"cd"))

        yield predict
    parties.stop_all()


def test_phases_apart_give_the_same_result(settings: PartiesSettings, shares: dict[str, Path]) -> None:
    with measured(settings, Measure(offline_first=True), shares) as predict:
        prediction = predict(layers=20, correction_bytes=1 << 20)
        assert prediction.payloads == (b"ba", b"dc")
        assert prediction.costs.offline_seconds is not None
        assert 0 < prediction.costs.offline_seconds < prediction.costs.seconds


def test_together_they_are_not_told_apart(settings: PartiesSettings, shares: dict[str, Path]) -> None:
    with measured(settings, Measure(), shares) as predict:
        assert predict().costs.offline_seconds is None


def test_a_dealer_that_fails_offline_ends_the_session(settings: PartiesSettings, shares: dict[str, Path]) -> None:
    with (
        measured(settings, Measure(offline_first=True), shares) as predict,
        pytest.raises(ProtocolError, match="dealer was told to fail at layer 1"),
    ):
        predict(fail_at="dealer 1")


def test_every_round_takes_the_delay(settings: PartiesSettings, shares: dict[str, Path]) -> None:
    with measured(settings, Measure(delay_seconds=0.02), shares) as predict:
        few, many = predict(layers=1), predict(layers=11)
        assert few.payloads == many.payloads == (b"ba", b"dc")
        assert many.costs.seconds >= 11 * 0.02


def test_the_settings_are_written_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "parties.toml"
    addresses = {role: f"127.0.0.1:{7100 + index}" for index, role in enumerate(PARTIES)}
    for measure in (Measure(), Measure(offline_first=True, delay_seconds=0.02, bytes_per_second=25e6)):
        path.write_text(settings_toml(addresses, tmp_path / "tls", measure))
        assert load_settings(path).measure == measure
        assert load_settings(path).limits == Limits()


def test_an_unknown_key_names_the_nearest_one(tmp_path: Path) -> None:
    path = tmp_path / "parties.toml"
    addresses = {role: f"127.0.0.1:{7100 + index}" for index, role in enumerate(PARTIES)}
    path.write_text(settings_toml(addresses, tmp_path) + "[measure]\ndelay = 0.1\n")
    with pytest.raises(ConfigurationError, match="did you mean 'delay_seconds'"):
        load_settings(path)
