"""The receipt of one call of an encrypted checkpoint: what its server signs, and what its client compares with that.

A client that wants receipts names a session of its own in the call's metadata; the server's statement comes in the
metadata after the last message. Over HTTP both travel in headers and events (`secure.ee.http`). Statement, digests,
signature and checks are those of the parties of a protocol (`secure.parties.session.statement`,
`secure.parties.client.receipt`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from secure.parties.client.receipt import ENCRYPTED, SessionReceipt
from secure.parties.client.signatures import Witness
from secure.parties.encrypted.generation_pb2 import EncodeRequest, GenerateRequest
from secure.parties.encrypted.service import ROLES, VERSION
from secure.parties.session.handshake import new_session_id
from secure.parties.session.statement import signed_fields
from secure.parties.session.transcript import Transcript
from secure.parties.transport.certificates.names import SERVER
from secure.parties.transport.certificates.trust import Trust
from secure.parties.transport.signing import Signer
from secure.parties.transport.tls import certificate_identity
from secure.parties.transport.wire_pb2 import Signed
from secure.protocols.core.errors import InputError, ReceiptRefused, SessionError

SESSION = "secure-session"
"""Names a session in a call's metadata, and in the headers of a request over HTTP."""
_SIGNED = "secure-signed-bin"
_SESSION_ID = re.compile(r"[0-9a-f]{32}")

_Asked = GenerateRequest | EncodeRequest
TakeReceipt = Callable[[SessionReceipt], None]


def manifest_digest(manifest: str) -> str:
    """SHA-256 of the encryption.json that a server showed, in hex."""
    return hashlib.sha256(manifest.encode()).hexdigest()


def request_text(asked: _Asked) -> str:
    """What a statement says of a request: counts of what was asked for, and nothing of its contents."""
    if isinstance(asked, GenerateRequest):
        return f"{len(asked.ids)} tokens, {asked.max_new_tokens} new at most"
    if asked.HasField("pixels"):
        return f"{next(iter(asked.pixels.shape), 0)} images"
    pooling = f", pooling {asked.pooling}" if asked.pooling else ""
    return f"{len(asked.rows)} rows, {sum(len(row.ids) for row in asked.rows)} tokens{pooling}"


def sequence_text(positions: int) -> str:
    """What a statement says of a sequence of split mode."""
    return f"{positions} positions"


class ServedCall:
    """What a server notes of a call, whether or not its client wants a receipt."""

    def __init__(self, session: str, client: str, step: str, manifest: str) -> None:
        """session: as the client named it; without a session's id nothing is signed. client: to whom the server
        answers. step: the call's name. manifest: encryption.json of what is served."""
        self._session = session if _SESSION_ID.fullmatch(session) else None
        self._client, self._step, self._manifest = client, step, manifest
        self._transcript = Transcript()
        self._rounds = self._received = self._sent = 0

    def came_in(self, message: bytes) -> None:
        """The client's next message, which is the request where the call has but one."""
        if self._session is not None:
            self._transcript.came_in(message)
            self._rounds += 1
            self._received += len(message)

    def went_out(self, message: bytes) -> bytes:
        """The next message of the answer, which is returned."""
        if self._session is not None:
            self._transcript.went_out(message)
            self._sent += len(message)
        return message

    def sign(self, request: str, signer: Signer) -> Signed | None:
        """After the last message: the server's word, None where nobody wants it.

        request: what was asked for, in counts. Raises ConfigurationError for a key that cannot sign.
        """
        if self._session is None:
            return None
        fields = {
            "role": SERVER,
            "kind": self._step.lower(),
            "session": self._session,
            "client": self._client,
            "protocol": ENCRYPTED.protocol,
            "security": ENCRYPTED.security,
            "wire_version": VERSION,
            "model_digest": manifest_digest(self._manifest),
            "request": request,
            "cost": {"rounds": self._rounds, "online_bytes": self._received + self._sent, "dealer_bytes": 0},
            "bytes_sent": {"client": self._sent},
            "bytes_received": {"client": self._received},
        }
        return signed_fields(fields, self._transcript, signer)


class AskedCall:
    """What a client notes of a call whose receipt it wants."""

    def __init__(self, step: str, manifest: str, trust: Trust, take_receipt: TakeReceipt) -> None:
        """step: the call's name. manifest: what the server showed. take_receipt: gets the receipt."""
        self._trust, self._take_receipt = trust, take_receipt
        self._witness = Witness(ENCRYPTED.computing)
        self._received = self._sent = 0
        self.session = new_session_id()
        self._known: dict[str, object] = {
            "kind": step.lower(),
            "session": self.session,
            "protocol": ENCRYPTED.protocol,
            "wire_version": VERSION,
            "model_digest": manifest_digest(manifest),
        }

    def sent(self, message: bytes) -> None:
        """The next message to the server, as it goes out."""
        self._witness.sent(SERVER, message)
        self._sent += len(message)

    def got(self, message: bytes) -> None:
        """The next message of the answer."""
        self._witness.got(SERVER, message)
        self._received += len(message)

    def end(self, request: str, signed: bytes) -> None:
        """The call is over. request: what was asked for, in counts. signed: what the server signed, empty for nothing.

        Raises ReceiptRefused where that is not what was seen.
        """
        try:
            said = Signed.FromString(signed)
        except (DecodeError, TypeError):
            raise ReceiptRefused(f"{SERVER}: what it signed cannot be read; it runs another version") from None
        known = self._known | {
            "request": request,
            "bytes_sent": {"client": self._received},
            "bytes_received": {"client": self._sent},
        }
        self._take_receipt(self._witness.receipt(known, {SERVER: said}, self._trust))


# in the metadata of a gRPC call


def served_call(context: grpc.ServicerContext, step: str, manifest: str) -> ServedCall:
    """What a server notes of a call. Arguments as for `ServedCall`."""
    session = dict(context.invocation_metadata()).get(SESSION, "")
    return ServedCall(str(session), certificate_identity(context.auth_context(), ROLES).name, step, manifest)


def tell(context: grpc.ServicerContext, signed: Signed | None) -> None:
    """Send what a server signed after the last message of its answer."""
    if signed is not None:
        context.set_trailing_metadata(((_SIGNED, signed.SerializeToString()),))


def session_metadata(noted: AskedCall | None) -> tuple[tuple[str, str], ...] | None:
    """What goes along with a request."""
    return None if noted is None else ((SESSION, noted.session),)


def signed_in(metadata: Sequence[tuple[str, Any]] | None) -> bytes:
    """What a server signed, in the metadata that came last."""
    found: bytes = dict(metadata or ()).get(_SIGNED, b"")
    return found


def read(kind: Any, message: bytes) -> Any:
    """A request to the service. Raises InputError for bytes that are none."""
    try:
        return kind.FromString(message)
    except DecodeError:
        raise InputError(f"the message is no {kind.DESCRIPTOR.name} of this service") from None


def answered(kind: Any, message: bytes) -> Any:
    """An answer of the service. Raises SessionError for bytes that are none."""
    try:
        return kind.FromString(message)
    except DecodeError:
        raise SessionError(f"the server sent bytes that are no {kind.DESCRIPTOR.name} of this service") from None
