"""An engine that only talks, as real ones do: lockstep rounds of the parties, corrections from a dealer.

Every message is a function of session, layer and sender, so a receiver can tell that it got the right one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from secure.models.program import ClientSteps
from secure.models.storage.kept_model import Kept
from secure.parties.roles.dealer import DealerTools
from secure.parties.roles.engine import Digests, Engine, MeterRows, Tools
from secure.parties.roles.hybrid.tools import TwoPartyTools
from secure.parties.roles.party import PartyTools
from secure.parties.roles.three_parties import ThreePartyTools
from secure.parties.roles.two_dealers import SecondDealerTools
from secure.parties.roles.witnessed import EvaluatorTools, ThreePartDealerTools
from secure.parties.roles.working_ahead import AheadTools
from secure.protocols.core.channel import Payload
from secure.protocols.core.errors import CheckpointError, InputError, ProtocolError
from secure.protocols.core.profile import Profile
from secure.protocols.witnessed.two_dealers import MessageDigests


def digest_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class FakePolicy:
    name: str = "policy"

    def digest(self) -> str:
        return digest_of(self.name)


@dataclass(frozen=True)
class FakeManifest:
    name: str = "model"
    policy: FakePolicy = field(default_factory=FakePolicy)
    share_bytes: int = 3

    def to_json(self) -> str:
        return json.dumps({"name": self.name, "policy": self.policy.name, "share_bytes": self.share_bytes})

    @property
    def digest(self) -> str:
        return digest_of(self.to_json())


@dataclass(frozen=True)
class FakeRequest:
    layers: int = 3
    message_bytes: int = 64
    correction_bytes: int = 64
    steps: int = 1
    memory_bytes: int = 0
    fail_at: str = ""
    """'ROLE INDEX': that role raises at that layer."""

    crash_at: str = ""
    """Likewise, with an error that is not of the tree."""

    def to_json(self) -> str:
        return json.dumps(self.__dict__)


def expand(seed: bytes, label: str, length_bytes: int) -> bytes:
    return hashlib.shake_128(seed + label.encode()).digest(length_bytes)


class FakeEngine(Engine):
    memory_bytes = 1 << 40
    _said: ClassVar[dict[bytes, MessageDigests]] = {}
    """By session, what a second dealer has sent digests of."""

    def digests(self, manifest_json: str) -> Digests:
        document = json.loads(manifest_json)
        return Digests(digest_of(manifest_json), digest_of(document["policy"]))

    def find_share(self, models_dir: Path | None, manifest_json: str, role: str) -> Path:
        path = (models_dir or Path("no folder")) / f"{role}.share"
        if not path.is_file():
            raise CheckpointError(f"{path} is not there")
        return path

    def load(self, tools: Tools, manifest_json: str, share: Path | None) -> tuple[object, MeterRows]:
        content = share.read_bytes() if share is not None else None
        expected = json.loads(manifest_json)["share_bytes"]
        if not isinstance(tools, (DealerTools, ThreePartDealerTools)) and len(content or b"") != expected:
            raise CheckpointError(f"{share} has {len(content or b'')} bytes instead of {expected}")
        self._talk(tools, FakeRequest(layers=2))
        return {"share": content}, [{"layer": "load"}]

    def written(self, model: object) -> Iterator[Payload]:
        assert isinstance(model, dict)
        yield model["share"] or b""

    def read(self, manifest_json: str, role: str, kept: Kept) -> object:
        return {"share": bytes(kept.message())}

    def working_set_bytes(self, model: object, request_json: str) -> int:
        request = FakeRequest(**json.loads(request_json))
        if request.layers < 1:
            raise InputError("no layers")
        return request.memory_bytes

    def free_bytes(self) -> int | None:
        return self.memory_bytes

    def predict(
        self, tools: Tools, model: object, request_json: str, client: ClientSteps, profile: Profile
    ) -> tuple[bool, MeterRows]:
        if isinstance(tools, AheadTools):
            return False, []  # there are no products to be made ahead
        request = FakeRequest(**json.loads(request_json))
        at_dealer, stopped = tools.index is None, False
        for step in range(request.steps):
            payload = client.receive(step)
            if payload is None:
                stopped = True
                break
            self._talk(tools, request)
            if not at_dealer:
                client.send(bytes(payload)[::-1])
        row = {"layer": "predict", "role": "dealer" if at_dealer else tools.index, "profile": profile.name}
        return stopped, [row]

    def _talk(self, tools: Tools, request: FakeRequest) -> None:
        for index in range(request.layers):
            if isinstance(tools, DealerTools):
                self._begin(tools, "dealer", index, request)
                tools.to_p1.send(expand(tools.seeds[1], f"correction {index}", request.correction_bytes))
                continue
            if isinstance(tools, ThreePartDealerTools):
                self._begin(tools, tools.family.dealers[isinstance(tools, SecondDealerTools)], index, request)
                dealt = expand(tools.seeds[2], f"correction {index}", request.correction_bytes)
                if isinstance(tools, SecondDealerTools):
                    dealt = self._said.setdefault(tools.session, MessageDigests(tools.session)).next_digest(dealt)
                for way in (tools.to_p1, tools.to_p2):
                    way.send(dealt)
                continue
            if isinstance(tools, EvaluatorTools):
                self._begin(tools, f"p{tools.number}", index, request)
                beginning = tools.session + (tools.deal or tools.session) + tools.common_seed
                tools.to_next.send(expand(beginning, f"{tools.number} {index}", request.message_bytes))
                tools.to_previous.send(beginning)
                if tools.dealer is not None:
                    third = tools.seeds[2 - tools.number]
                    self._same(tools.dealer.receive(), expand(third, f"correction {index}", request.correction_bytes))
                due = expand(beginning, f"{(tools.number - 1) % 3} {index}", request.message_bytes)
                self._same(tools.to_previous.receive(), due)
                self._same(tools.to_next.receive(), beginning)
                continue
            if isinstance(tools, ThreePartyTools):
                self._begin(tools, f"p{tools.number}", index, request)
                tools.to_next.send(expand(tools.session, f"{tools.number} {index}", request.message_bytes))
                due = expand(tools.session, f"{(tools.number - 1) % 3} {index}", request.message_bytes)
                self._same(tools.to_previous.receive(), due)
                continue
            if isinstance(tools, TwoPartyTools):
                self._begin(tools, f"p{tools.number}", index, request)
                tools.peer.send(expand(tools.session, f"{tools.number} {index}", request.message_bytes))
                due = expand(tools.session, f"{1 - tools.number} {index}", request.message_bytes)
                self._same(tools.peer.receive(), due)
                continue
            assert isinstance(tools, PartyTools)
            self._begin(tools, f"p{tools.role}", index, request)
            tools.peer.send(expand(tools.session, f"{tools.role} {index}", request.message_bytes))
            if tools.dealer is not None:
                expected = expand(tools.seed, f"correction {index}", request.correction_bytes)
                self._same(tools.dealer.receive(), expected)
            self._same(tools.peer.receive(), expand(tools.session, f"{1 - tools.role} {index}", request.message_bytes))

    def _begin(self, tools: Any, role: str, index: int, request: FakeRequest) -> None:
        tools.on_layer(f"layer {index}")
        if request.fail_at == f"{role} {index}":
            raise ProtocolError(f"{role} was told to fail at layer {index}")
        if request.crash_at == f"{role} {index}":
            raise ValueError("a secret value")

    def _same(self, received: memoryview, expected: bytes) -> None:
        if bytes(received) != expected:
            raise ProtocolError("a message is not the one that was sent")
