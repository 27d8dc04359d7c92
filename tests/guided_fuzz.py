"""Readers of what strangers send, under a fuzzer that follows which branches an input takes.

`python -m tests.guided_fuzz frames -max_total_time=600`: a target's name, then libFuzzer's own arguments. Whatever a
reader raises but its own kind of refusal ends it.
Needs the extra `fuzz`.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable

import atheris

with atheris.instrument_imports(include=["secure.parties.transport", "secure.models.contract", "secure.http"]):
    from secure.http.openai_embeddings import embeddings
    from secure.http.openai_errors import RequestRefused
    from secure.http.openai_fields import parse
    from secure.http.openai_requests import chat, completion
    from secure.models.contract.manifest import Manifest
    from secure.models.contract.request import Request
    from secure.parties.transport.failures import rebuild
    from secure.parties.transport.frames import decode
    from secure.parties.transport.wire_pb2 import Frame
    from secure.protocols.core.errors import SecureInferenceError

MODEL = "private"


def frames(data: bytes) -> None:
    """A frame of a stream; and a failure that it reports is made an error of ours again."""
    frame = decode(data)
    if isinstance(frame, Frame) and frame.HasField("failure"):
        str(rebuild(frame.failure))


def manifests(data: bytes) -> None:
    Manifest.from_json(data.decode("utf-8", "replace"))


def requests(data: bytes) -> None:
    """What a Hello says of a session's shapes."""
    Request.from_json(data.decode("utf-8", "replace"))


def bodies(data: bytes) -> None:
    """The body of each endpoint of the gateway, after a letter that says of which."""
    match data[:1]:
        case b"c":
            chat(parse(data[1:]), [MODEL])
        case b"e":
            embeddings(parse(data[1:]), [MODEL], text=True)
        case _:
            completion(parse(data[1:]), [MODEL], text=True)


TARGETS: dict[str, tuple[Callable[[bytes], None], type[Exception]]] = {
    "frames": (frames, SecureInferenceError),
    "manifests": (manifests, SecureInferenceError),
    "requests": (requests, SecureInferenceError),
    "bodies": (bodies, RequestRefused),
}


def main(arguments: list[str]) -> None:
    reader, refusal = TARGETS[arguments[1]]

    def once(data: bytes) -> None:
        with contextlib.suppress(refusal):
            reader(data)

    atheris.Setup([arguments[0], *arguments[2:]], once)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv)
