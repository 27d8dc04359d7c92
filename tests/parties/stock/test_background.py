"""What runs beside sessions goes on after an error, says it once, and tells nothing of its text if it was a defect."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import pytest

from secure.parties.stock.background import Background
from secure.protocols.core.errors import StockFull

SECRET = "a value"


def run_turns(*turns: Callable[[], None]) -> list[str]:
    """Run one turn after the other, with no pause; what the trouble was before each, and at the end."""
    left, troubles, ended = list(turns), list[str](), threading.Event()

    def turn() -> None:
        troubles.append(background.trouble)
        if not left:
            background.stop()
            ended.set()
            return
        left.pop(0)()

    background = Background("a test", turn, 0.0, level=logging.WARNING)
    background.start()
    assert ended.wait(60)
    background.join()
    return troubles


def fine() -> None:
    pass


def full() -> None:
    raise StockFull("no room")


def defect() -> None:
    raise ValueError(SECRET)


def test_errors_end_nothing_and_are_told_until_a_turn_goes_well(caplog: pytest.LogCaptureFixture) -> None:
    troubles = run_turns(full, full, defect, fine, full)
    assert troubles == ["", "no room", "no room", "failed with ValueError", "", "no room"]
    said = [(record.levelname, record.getMessage().splitlines()[0]) for record in caplog.records]
    assert said == [
        ("WARNING", "a test: no room"),
        ("ERROR", "a test: failed with ValueError"),
        ("WARNING", "a test: no room"),
    ]
    assert "in defect" in caplog.text and SECRET not in caplog.text


def test_it_ends_in_the_middle_of_a_pause() -> None:
    turned = threading.Event()
    background = Background("a test", turned.set, 3600.0, level=logging.WARNING)
    background.join()  # which was not begun
    background.start()
    assert turned.wait(60)
    background.stop()
    background.join()
