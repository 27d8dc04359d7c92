"""The receipts of a server's latest sessions, for whoever's requests were in them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from secure.http.callers import Caller, asked
from secure.http.openai_errors import RequestRefused
from secure.report.receipt import Receipt

PATH = "/v1/sessions/{number:int}/receipt"
KEPT = 256
"""Sessions that are remembered, the latest ones."""


class KeptReceipts:
    """Receipts by the number of their session, without what was answered. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[int, tuple[frozenset[str], Receipt]] = OrderedDict()

    def keep(self, number: int, callers: Collection[str], receipt: Receipt) -> None:
        """callers: the names of those who may have it."""
        with self._lock:
            self._kept[number] = frozenset(callers), receipt.without_answers()
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)

    def __contains__(self, number: int) -> bool:
        with self._lock:
            return number in self._kept

    def find(self, number: int, caller: Caller) -> Receipt | None:
        """A session's receipt; None where it is not over, too old, has none, or was none of this caller's."""
        with self._lock:
            callers, receipt = self._kept.get(number, (frozenset(), None))
        return receipt if caller.operator or caller.name in callers else None

    async def told(self, request: Request) -> Response:
        """A handler: the file that `secure verify` reads. Raises RequestRefused."""
        receipt = self.find(int(request.path_params["number"]), asked().caller)
        if receipt is None:
            raise RequestRefused(
                "no session of yours with that number has a receipt; one that was ended before its last token has none",
                code="unknown_session",
                status=404,
            )
        return JSONResponse(receipt.document())
