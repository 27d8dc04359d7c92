"""An OpenAI-compatible endpoint of token ids: /v1/models and /v1/completions over an encrypted checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from starlette.applications import Starlette

from secure.ee.http.ids_backend import IdsBackend
from secure.ee.http.signed_answers import SignedAnswers
from secure.http.callers import callers_with
from secure.http.completions import completions_app
from secure.http.openai_errors import RequestRefused
from secure.parties.encrypted.engine import GenerationEngine
from secure.parties.encrypted.limits import Admission
from secure.parties.encrypted.runner import EngineRunner
from secure.parties.transport.signing import Signer

KEY_CHECK_HEADER = "secure-key-check"
"""Names the checkpoint that a request is for, so that a server which has another one by now refuses."""


def ids_app(
    engine: GenerationEngine,
    admission: Admission,
    *,
    api_key: str | None = None,
    hosts: Sequence[str] = (),
    signer: Signer | None = None,
) -> Starlette:
    """The application. api_key: what callers must send. signer: signs answers for whoever wants receipts; None signs
    none. Other arguments as for `secure.http.app.make_app`.
    """
    served = engine.served
    about = {
        "key_check": served.key_check,
        # One key may encrypt several checkpoints; everything in a manifest may be published.
        "manifest": served.manifest,
        "max_model_len": served.context_tokens,
        "most_prompt_tokens": admission.most_prompt_tokens,
        "most_new_tokens": admission.limits.new_tokens,
        "vocabulary": served.vocabulary,
    }

    def check(headers: Mapping[str, str]) -> None:
        if headers.get(KEY_CHECK_HEADER, served.key_check) != served.key_check:
            raise RequestRefused(
                "this server's checkpoint was encrypted with another key", code="wrong_key", status=412
            )

    tokens = EngineRunner(engine, admission)
    backend = IdsBackend(tokens, served.name, about, check=check, check_prompt=admission.check_prompt)
    app = completions_app(backend, callers=callers_with(api_key), hosts=hosts)
    if signer is not None:
        app.add_middleware(SignedAnswers, manifest=served.manifest, signer=signer)
    return app
