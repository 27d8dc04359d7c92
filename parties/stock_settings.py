"""`[stock]` of `parties.toml`: what a party keeps on its disk of what was dealt or made ahead, and under which key.

    [stock]                         # optional; dealt by the dealer in beaver and witnessed, made by both in hybrid
    dir = "stock"                   # each party takes a folder of its own in it, with its role's name
    key = "memory"                  # or systemd, credential, file: see `secure.parties.stock.key`
    max_bytes = 200_000_000_000     # of tapes, at most
    fallback = true                 # with nothing in stock: true asks the live dealer, or makes it; false refuses
    [[stock.keep]]                  # any number; read by the dealer alone or, without one, by p0
    model = "minilm"                # a folder in its [models] dir that has a manifest.json, or a manifest's digest
    shapes = ["1x16", "8x16"]       # batch x tokens
    at_least = 50                   # below this many deals of a shape the dealer fills, in idle time,
    up_to = 200                     # to this many
    output = "embedding"            # the default; or hidden, logits, next_logits, next_token
    masked = false                  # the default; true for inputs that are padded
    new_tokens = 64                 # with next_logits or next_token: steps of the session, at most

The client's own file has a `[stock]`, too, where it wants to be served from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

KeptOutput = Literal["hidden", "embedding", "logits", "next_logits", "next_token"]
"""What sessions compute that deals are kept for, as `secure.models.contract.request.Output`."""
KeyKind = Literal["memory", "systemd", "credential", "file"]


@dataclass(frozen=True)
class Keep:
    """Deals of some shapes of one model, of which there are to be `at_least` to `up_to` in stock. new_tokens: 0 where
    nothing is generated."""

    model: str
    shapes: tuple[str, ...]
    at_least: int
    up_to: int
    new_tokens: int = 0
    output: KeptOutput = "embedding"
    masked: bool = False


@dataclass(frozen=True)
class StockSettings:
    """What one party keeps. dir: an absolute path."""

    dir: Path
    key: KeyKind = "memory"
    max_bytes: int = 200_000_000_000
    fallback: bool = True
    keep: tuple[Keep, ...] = ()


class _StockPart(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class KeepLiteral(_StockPart):
    """One `[[stock.keep]]`, as it stands in the file."""

    model: str
    shapes: list[str] = Field(min_length=1)
    at_least: int = Field(ge=1)
    up_to: int = Field(ge=1)
    new_tokens: int = Field(Keep.new_tokens, ge=0)
    output: KeptOutput = Keep.output
    masked: bool = Keep.masked


class StockLiteral(_StockPart):
    """`[stock]`, as it stands in the file."""

    dir: str
    key: KeyKind = StockSettings.key
    max_bytes: int = Field(StockSettings.max_bytes, ge=1)
    fallback: bool = StockSettings.fallback
    keep: list[KeepLiteral] = []

    def settings(self, folder: Path) -> StockSettings:
        """The settings, of a file in `folder`."""
        keep = tuple(Keep(**{**each.model_dump(), "shapes": tuple(each.shapes)}) for each in self.keep)
        return StockSettings(folder / self.dir, self.key, self.max_bytes, self.fallback, keep)
