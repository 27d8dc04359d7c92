"""What the gateway tells of itself: whether it is ready, its figures, and what a session cost."""

from __future__ import annotations

import threading
import time

import anyio.to_thread
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from secure.gateway.ledger import SessionLedger
from secure.http.callers import asked
from secure.http.openai_errors import RequestRefused
from secure.loaded_model import ResidentModel

_FRESH_SECONDS = 2.0
"""Everybody may ask whether the gateway is ready; the parties are asked at most so often."""
_PATIENCE_SECONDS = 2.0


class Told:
    """Handlers of /ready, /metrics and /v1/sessions/NUMBER."""

    def __init__(self, ledger: SessionLedger, model: ResidentModel) -> None:
        self._ledger = ledger
        self._model = model
        self._asking = threading.Lock()
        self._health: tuple[float, dict[str, str]] | None = None

    async def ready(self, _: Request) -> Response:
        """Status 200 where the parties serve and have the model, as far as the last session says; else 503 and why."""
        health = await anyio.to_thread.run_sync(self._parties)
        failing = {role: why for role, why in health.items() if why != "serving"}
        reason = self._ledger.why_not_ready or ", ".join(f"{role} is {why}" for role, why in failing.items())
        return JSONResponse({"ready": not reason, "reason": reason, "parties": health}, 503 if reason else 200)

    async def metrics(self, _: Request) -> Response:
        """Figures of all callers, for whoever may see those. Raises RequestRefused for others."""
        if not asked().caller.operator:
            raise RequestRefused("figures of all callers are for an operator's key", code="not_allowed", status=403)
        return Response(self._ledger.exposition(), headers={"content-type": CONTENT_TYPE_LATEST})

    async def session(self, request: Request) -> Response:
        """What a session cost, for whoever had a row in it. Raises RequestRefused while it runs, and for others."""
        caller = asked().caller
        spent = self._ledger.spent(int(request.path_params["number"]), caller)
        if spent is None:
            raise RequestRefused("no such session of yours has ended lately", code="unknown_session", status=404)
        return JSONResponse(spent)

    def _parties(self) -> dict[str, str]:
        with self._asking:
            if self._health is None or time.monotonic() - self._health[0] > _FRESH_SECONDS:
                self._health = time.monotonic(), self._model.health(_PATIENCE_SECONDS)
            return self._health[1]
