"""What happens in a session, in order: load, predict or unload, the same at every role."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from secure.models.program import Nobody
from secure.models.storage import system
from secure.models.storage.capacity import human_bytes
from secure.parties.config import DEALERS
from secure.parties.roles import memory
from secure.parties.roles.engine import Engine, MadeAhead, MeterRows
from secure.parties.roles.operating import Operating
from secure.parties.roles.role import Role
from secure.parties.roles.steps import RunSteps
from secure.parties.roles.store import ModelStore, StoredModel
from secure.parties.session.handshake import KIND_NAMES, OPERATORS_KINDS, as_role
from secure.parties.session.reservations import Reservations
from secure.parties.session.session import Session
from secure.parties.session.statement import signed
from secure.parties.stock.sealed_models import LoadHeader, SealedModels
from secure.parties.transport.wire_pb2 import Accept, Frame, Kind, Making, Report
from secure.protocols.core.errors import (
    CheckpointError,
    DamagedFile,
    HandshakeError,
    ProtocolError,
    SecureInferenceError,
)
from secure.protocols.core.profile import named

MAX_MANIFEST_BYTES = 64 << 20
TAKEN_UP = "model %s is taken up again after %.3f s"
_LOG = logging.getLogger("parties")


class Worker:
    """Runs sessions of one role; each call of `serve` is one session, in the caller's thread."""

    def __init__(self, role: Role, engine: Engine, sealed: SealedModels | None = None) -> None:
        """sealed: as for `ModelStore`."""
        self._role = role
        self._engine = engine
        self.models = ModelStore(role.name, sealed)
        self.operating = Operating(role.name)
        self.reservations = Reservations(role.name, engine.free_bytes, role.settings.limits.session_bytes)

    def serve(self, session: Session) -> None:
        """Run the session to its end. Raises whatever ends it early."""
        kind = session.hello.kind
        name = f"session {session.id[:8]} {KIND_NAMES.get(kind, '?')} model {session.hello.model_digest[:8]}"
        _LOG.info("%s begins", name)
        if kind == Kind.KIND_LOAD:
            self._load(session)
        elif kind == Kind.KIND_PREDICT:
            self._predict(session)
        elif kind == Kind.KIND_UNLOAD:
            self.models.leave(session.hello.model_digest, session.identity)
            self._burn_other_loads(session.hello.model_digest)
            self._accept(session)
        elif kind in OPERATORS_KINDS:
            self._accept(session)
            self._finish(session, self.operating.serve(session))
        else:
            raise ProtocolError(f"{self._role.name}: a session must load, predict or unload")
        session.run.post_end()
        _LOG.info("%s ends after %.3f s", name, time.monotonic() - session.started)

    def _load(self, session: Session) -> None:
        hello = session.hello
        # The session's own id becomes the load id, so that all roles agree on it without another message.
        hello.load_id = session.id
        self._accept(session, self.models.load_id(hello.model_digest), self._role.profile)
        session.step = "the upload"
        with session.client_awaited():
            manifest = session.run.receive(MAX_MANIFEST_BYTES)
        session.check()
        if isinstance(manifest, Frame):
            if manifest.HasField("end"):
                self.models.join(hello.model_digest, session.identity)
                return  # the equal model is in memory everywhere
            raise ProtocolError(f"{session.run.peer} sent {manifest.WhichOneof('control')} instead of a manifest")
        manifest_json = str(manifest, "utf-8")
        self._check_digests(session, manifest_json)
        tools = self._role.join(session)
        with self.models.recording(hello.model_digest) as record:
            with self._share(session, manifest_json) as share:
                model, rows = self._engine.load(tools, manifest_json, share)
            if record is not None:
                record.begin(LoadHeader(session.id, hello.policy_digest), manifest_json)
                for message in self._engine.written(model):
                    record.add(message)
            self._finish(session, rows)
            self.models.put(hello.model_digest, StoredModel(session.id, hello.policy_digest, model), record)
        self._burn_other_loads(hello.model_digest)
        self.models.join(hello.model_digest, session.identity)

    def _burn_other_loads(self, model_digest: str) -> None:
        """What was dealt under masks of weights that are gone serves nobody."""
        if self.operating.store is not None:
            self.operating.store.burn_other_loads(model_digest, self.models.load_id(model_digest))

    def take_up_models(self) -> None:
        """Have the models again that the process before this one had, with no message to anybody.

        What cannot be read, or is not what was written, is removed: the model has to be loaded anew.
        """
        sealed = self.models.sealed
        for digest in [] if sealed is None else sealed.digests:
            assert sealed is not None
            began = time.monotonic()
            try:
                self._take_up(sealed, digest)
            except (SecureInferenceError, DamagedFile, OSError) as error:
                reason = error.strerror if isinstance(error, OSError) else error
                _LOG.warning("model %s has to be loaded anew: %s", digest[:8], reason)
                sealed.remove(digest)
                self._burn_other_loads(digest)
            else:
                _LOG.info(TAKEN_UP, digest[:8], time.monotonic() - began)

    def _take_up(self, sealed: SealedModels, digest: str) -> None:
        load = sealed.read(digest)
        model = self._engine.read(load.manifest_json, self._role.name, load)
        load.finish()
        stored = StoredModel(load.header.load_id, load.header.policy_digest, model)
        self.models.take_up(digest, stored, sealed.users(digest))

    def _predict(self, session: Session) -> None:
        stored = self.models.get(session.hello)
        needed = self._engine.working_set_bytes(stored.model, session.hello.request)
        with self.reservations.reserved(needed):
            session.hello.deal = ""  # which is this party's or its peer's to say
            deal = self._role.take(session)
            self._accept(session, stored.load_id)
            tools, model, request = self._role.join(session, deal), stored.model, session.hello.request
            kept = self._engine.making_bytes(tools, model, request) if tools.makes else 0
            profile = named(session.hello.profile)
            with self.reservations.reserved(kept):
                tools.make_ready(lambda making: self._engine.predict(making, model, request, Nobody(), profile))
                stopped, rows = self._engine.predict(tools, model, request, RunSteps(session), profile)
            session.check()
            self._finish(session, rows, memory_bytes=needed + kept, discard=stopped, made=tools.made_ahead, sign=True)

    @contextmanager
    def _share(self, session: Session, manifest_json: str) -> Iterator[Path | None]:
        """This party's share of the weights: uploaded, or from its own disk. The dealer has none."""
        if self._role.name in DEALERS:
            yield None
        elif not session.hello.uploads_share:
            folder = self._role.settings.models_dir
            try:
                yield self._engine.find_share(folder, manifest_json, self._role.name)
            except CheckpointError as error:
                # The client is told what it can act on, and no path of this host.
                _LOG.warning("%s", error)
                raise CheckpointError(str(error).replace(str(folder), f"{self._role.name}'s [models] dir")) from None
        else:
            # An anonymous file in memory: readers of files can map it, and it never exists on a disk.
            with system.file_in_memory() as file:
                session.watch_peers()
                with session.client_awaited():
                    session.run.receive_file(file, self._check_upload)
                session.check()
                file.flush()
                path = memory.UPLOADS / str(file.fileno())
                try:
                    yield path
                except CheckpointError as error:
                    uploaded = f"the file that was uploaded to {self._role.name}"
                    raise CheckpointError(str(error).replace(str(path), uploaded)) from None

    def _check_upload(self, count: int) -> None:
        """Raises CheckpointError when a share file of `count` bytes is more than this party takes."""
        name, limits = self._role.name, self._role.settings.limits
        limit, free = limits.share_bytes, memory.free_bytes(limits.memory_bytes)
        advice = f"copy the file to {name}'s [models] dir instead"
        if count > limit:
            raise CheckpointError(
                f"the share of {name} has {human_bytes(count)}, its [limits] share_bytes allows uploads of "
                f"{human_bytes(limit)}; raise that, or {advice}"
            )
        if free is not None and count > free:
            raise CheckpointError(
                f"the share of {name} has {human_bytes(count)}, {human_bytes(free)} of its memory are free to receive "
                f"it; {memory.FULL}, or {advice}"
            )

    def _check_digests(self, session: Session, manifest_json: str) -> None:
        digests = self._engine.digests(manifest_json)
        where = f"{self._role.name}, manifest"
        if digests.model != session.hello.model_digest:
            raise HandshakeError("model digest", digests.model, session.hello.model_digest, where)
        if digests.policy != session.hello.policy_digest:
            raise HandshakeError("policy digest", digests.policy, session.hello.policy_digest, where)

    def _accept(self, session: Session, load_id: str = "", profile: str = "") -> None:
        ours = as_role(session.hello, self._role.name)
        session.run.post(Frame(accept=Accept(hello=ours, load_id=load_id, profile=profile)))

    def _finish(
        self,
        session: Session,
        rows: MeterRows,
        *,
        memory_bytes: int = 0,
        discard: bool = False,
        sign: bool = False,
        made: MadeAhead | None = None,
    ) -> None:
        """Part from the peers, then tell the client what this role did.

        memory_bytes: that were set aside for the session. What the process holds would tell of others' sessions.
        discard: as for `Role.leave`. sign: whether the client gets a signed statement for its receipt. made: what
        correlations took that the parties made themselves.
        """
        session.step = "the end of the session"
        self._role.leave(session, discard=discard)
        session.check()
        report = Report(
            rows_json=json.dumps(rows),
            seconds=time.monotonic() - session.started,
            memory_bytes=memory_bytes,
            cpu_seconds=session.cpu_seconds(),
            deal=session.hello.deal,
            making=None if made is None else Making(**asdict(made)),
        )
        for link in (*session.peers, session.run):
            report.bytes_sent[link.peer] = link.traffic.bytes_sent
            report.bytes_received[link.peer] = link.traffic.bytes_received
            report.messages_sent[link.peer] = link.traffic.messages_sent
            report.waiting_seconds[link.peer] = link.traffic.waited_seconds
        if sign:
            report.signed.CopyFrom(signed(session, report, self._role.signer))
        session.run.post(Frame(report=report))
