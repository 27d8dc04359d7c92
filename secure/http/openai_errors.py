"""Errors as OpenAI's clients expect them: an HTTP status, and an object with message, type, param and code."""

from __future__ import annotations

from typing import Any

from secure.protocols.core.errors import (
    BudgetSpent,
    CheckpointError,
    HandshakeError,
    InputError,
    SecureInferenceError,
    ServerBusy,
    SessionError,
)


class RequestRefused(InputError):
    """A request that is not computed. `param` is the field at fault, where there is one."""

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        self.param = param
        self.code = code
        self.status = status


def error_answer(error: Exception) -> tuple[int, dict[str, Any]]:
    """HTTP status and body. Of a defect only the class is told: its text could hold a value."""
    status, kind, code, param = 500, "server_error", "internal_error", None
    message = str(error)
    if isinstance(error, RequestRefused):
        status, code, param = error.status, error.code or "invalid_value", error.param
        kind = "authentication_error" if status == 401 else "invalid_request_error"
    elif isinstance(error, BudgetSpent):
        # Not 429, which clients try again by themselves.
        status, kind, code = 403, "invalid_request_error", "token_budget_spent"
    elif isinstance(error, InputError):
        status, kind, code = 400, "invalid_request_error", "invalid_value"
    elif isinstance(error, ServerBusy):
        status, kind, code = 429, "rate_limit_error", "rate_limit_exceeded"
    elif isinstance(error, HandshakeError | CheckpointError):
        status, code = 502, "wrong_backend"
    elif isinstance(error, SessionError):
        status, code = 503, "backend_unavailable"
    elif not isinstance(error, SecureInferenceError):
        message = f"a defect of this program ({type(error).__name__}); its log says where"
    return status, {"error": {"message": message, "type": kind, "param": param, "code": code}}
