"""What a deal was made for. A session that differs in anything of it gets another deal, or none."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from secure.models.contract.request import Request
from secure.parties.session.handshake import digest_of_request
from secure.parties.transport.wire_pb2 import Hello
from secure.protocols.core.errors import InputError
from secure.protocols.core.profile import Profile, named


@dataclass(frozen=True)
class Binding:
    """Everything that decides which correlations a session takes, and under which masks of weights."""

    protocol: str
    version: int
    model_digest: str
    policy_digest: str
    load_id: str
    request_digest: str
    profile: str
    """By which the roles choose among gates that compute the same: another choice takes other correlations."""
    round_bytes: int
    """What that profile means in this version."""
    garbler: str = ""
    """Who garbles, where circuits are garbled."""

    @classmethod
    def of(cls, hello: Hello) -> Binding:
        """What a session or an offer says of itself. hello: of a client with its request, or of a party.

        Raises ConfigurationError where it names no network profile.
        """
        return cls(
            hello.family,
            hello.protocol_version,
            hello.model_digest,
            hello.policy_digest,
            hello.load_id,
            digest_of_request(hello.request) if hello.request else hello.request_digest,
            hello.profile,
            named(hello.profile).round_bytes,
            hello.garbler,
        )

    @property
    def network_profile(self) -> Profile:
        """The profile by which the deal's program runs. Raises ConfigurationError where this version has none such."""
        return named(self.profile)

    def to_json(self) -> str:
        """The binding as text, equal for equal bindings."""
        found = asdict(self)
        if not self.garbler:
            del found["garbler"]  # as it stood in ledgers before there was one
        return json.dumps(found, sort_keys=True)

    def difference(self, other_json: str) -> str:
        """The first field in which another binding differs, in words; empty where none does."""
        mine, other = asdict(self), json.loads(other_json)
        return next((name.replace("_", " ") for name, value in mine.items() if other.get(name, "") != value), "")


def shape_of(request_json: str) -> str:
    """A request as operators read it, such as '1x16 embedding'; where it is none of a model's, its text."""
    try:
        request = Request.from_json(request_json)
    except InputError:
        return request_json
    words = [f"{request.batch}x{request.tokens}", request.output]
    if request.masked:
        words.append("masked")
    if request.padding:
        words.append("padded " + ",".join(map(str, request.padding)))
    if request.steps > 1:
        words.append(f"{request.steps} steps")
    return " ".join(words)


def short_name(name: str) -> str:
    """A deal's name as logs and errors give it: the beginning of its run, and its number there."""
    half = len(name) // 2
    return f"{name[:6]}-{int(name[half:], 16)}"
