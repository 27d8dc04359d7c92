"""The filler of the dealer or, without one, of p0: while no session is there, it deals or makes what `[[stock.keep]]`
wants to be there."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from secure.models.contract.request import STEPS_DEALT, Request
from secure.parties.config import PartiesSettings
from secure.parties.roles.dealing_ahead import FillsStocks
from secure.parties.roles.engine import Engine
from secure.parties.stock.background import Background
from secure.parties.stock_settings import Keep, KeptOutput
from secure.protocols.core.errors import ConfigurationError, ModelNotLoaded, SecureInferenceError, SessionError

PAUSE_SECONDS = 1.0


class Filler:
    """A thread. One deal at a time, so that a session which comes waits for one layer of it at the most."""

    def __init__(
        self, settings: PartiesSettings, engine: Engine, deals: FillsStocks, is_idle: Callable[[], bool]
    ) -> None:
        """Raises ConfigurationError for a shape that is none, and for a model that the settings' folder has not."""
        assert settings.stock is not None
        self._deals = deals
        self._is_idle = is_idle
        self._wanted = [
            (keep, _digest(keep.model, settings.models_dir, engine), requests_of(keep)) for keep in settings.stock.keep
        ]
        self._below: dict[tuple[str, str], bool] = {}
        """Whether a request's stock is being filled up, by model and request."""
        self.background = Background("the stock is not filled", self.fill, PAUSE_SECONDS, level=logging.WARNING)

    def start(self) -> None:
        """Begin, where there is something to keep."""
        if self._wanted:
            self.background.start()

    def give_up(self) -> None:
        """Begin no other deal, and leave the one that is being made."""
        self.background.stop()

    def join(self) -> None:
        """Wait for the end, after `give_up`, and after the role's connections are closed."""
        self.background.join()

    def fill(self) -> None:
        """One turn: deal what is missing of every shape. Raises what `FillsStocks` does, for the last that failed."""
        failed: SecureInferenceError | None = None
        for keep, digest, requests in self._wanted:
            for request_json in requests:
                try:
                    self._fill(keep, digest, request_json)
                except ModelNotLoaded:
                    pass  # it is dealt for when a client has loaded it
                except SecureInferenceError as error:
                    failed = error
        if failed is not None:
            raise failed

    def _fill(self, keep: Keep, digest: str, request_json: str) -> None:
        """Deal until there is enough, or until a session comes. Raises what `FillsStocks` does."""
        place = digest, request_json
        while self._is_idle() and not self.background.stopping.is_set():
            there = self._deals.in_stock(digest, request_json)
            filling = there < keep.up_to if self._below.get(place) else there < keep.at_least
            self._below[place] = filling
            if not filling:
                return
            self._deals.deal(digest, request_json, self._check)

    def _check(self) -> None:
        if self.background.stopping.is_set():
            raise SessionError("the filler is stopped")


def requests_of(keep: Keep) -> list[str]:
    """The requests that deals are kept for, as JSON. Raises ConfigurationError for a shape that is none."""
    return [request_of(shape, keep.output, masked=keep.masked, new_tokens=keep.new_tokens) for shape in keep.shapes]


def request_of(shape: str, output: KeptOutput, *, masked: bool, new_tokens: int) -> str:
    """The request of a shape such as '8x16', batch and tokens, as JSON.

    Raises ConfigurationError for another text, and for a number of new tokens that no session takes.
    """
    batch, separator, tokens = shape.partition("x")
    if not (separator and batch.isdecimal() and tokens.isdecimal()):
        raise ConfigurationError(f"{shape!r} is no shape; batch and tokens are written as 1x16")
    if new_tokens > 1 and new_tokens not in STEPS_DEALT:
        raise ConfigurationError(
            f"nothing is dealt for {new_tokens} new tokens: a session takes the next larger of "
            f"{', '.join(map(str, STEPS_DEALT))}, and gives up what it does not use"
        )
    request = Request(output, int(batch), int(tokens), masked, max(1, new_tokens))
    request.check_sizes()
    return request.to_json()


def _digest(model: str, models_dir: Path | None, engine: Engine) -> str:
    """The digest of a model's manifest, from the folder of that name, or as it is given."""
    if len(model) == 64 and set(model) <= set("0123456789abcdef"):
        return model
    path = (models_dir or Path()) / model / "manifest.json"
    try:
        return engine.digests(path.read_text(encoding="utf-8")).model
    except OSError:
        raise ConfigurationError(
            f"stock.keep: {model!r} is no digest of a manifest, and this party's [models] dir has no folder of that "
            "name with a manifest.json; copy the manifest there, it is no secret"
        ) from None
