"""An OpenAI-compatible endpoint of token ids: /v1/models and /v1/completions over an encrypted checkpoint.

A prompt is a list of encrypted ids, or a list of such lists; an answer has `token_ids`, and an empty text, as this side
has no tokenizer. The names of fields beyond OpenAI's (`token_ids`, `stop_token_ids`, `max_model_len`) are vLLM's.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import aclosing

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from secure.ee.http.backend import KEY_CHECK_HEADER
from secure.ee.http.backends import Backend, LocalBackend, Pieces
from secure.http.app import Chunks, EventStream, make_app, read_body, unless_gone
from secure.http.openai_answers import Answer, models, usage
from secure.http.openai_errors import RequestRefused
from secure.http.openai_fields import parse
from secure.http.openai_requests import Completion, completion
from secure.parties.encrypted.engine import Admission, GenerationEngine


def ids_app(
    engine: GenerationEngine, admission: Admission, *, api_key: str | None = None, hosts: Sequence[str] = ()
) -> Starlette:
    """The application. Arguments as for `http_app.make_app`."""
    endpoint = _Endpoint(engine, admission)
    routes = {
        "/v1/models": ("GET", endpoint.models),
        "/v1/completions": ("POST", endpoint.completions),
    }
    return make_app(routes, api_key, hosts)


class _Endpoint:
    def __init__(self, engine: GenerationEngine, admission: Admission) -> None:
        self._engine = engine
        self._admission = admission
        self._backend: Backend = LocalBackend(engine, admission)
        self._created = int(time.time())

    async def models(self, request: Request) -> Response:
        served = self._engine.served
        more = {
            "key_check": served.key_check,
            # One key may encrypt several checkpoints; everything in a manifest may be published.
            "manifest": served.manifest,
            "max_model_len": served.context_tokens,
            "most_prompt_tokens": self._admission.most_prompt_tokens,
            "most_new_tokens": self._admission.limits.new_tokens,
            "vocabulary": served.vocabulary,
        }
        return JSONResponse(models([served.name], self._created, more))

    async def completions(self, request: Request) -> Response:
        served = self._engine.served
        if request.headers.get(KEY_CHECK_HEADER, served.key_check) != served.key_check:
            raise RequestRefused(
                "this server's checkpoint was encrypted with another key", code="wrong_key", status=412
            )
        wanted = completion(parse(await read_body(request)), [served.name], text=False)
        prompts = [row for row in wanted.prompts if isinstance(row, list)]
        for ids in prompts:
            self._admission.check_prompt(ids, wanted.wishes.sampling(1, wanted.wishes.stop_ids))
        answer = Answer("text_completion", served.name)
        if wanted.wishes.stream:
            return await EventStream.begin(request, self._chunks(answer, wanted, prompts))
        return JSONResponse(await unless_gone(request, self._whole(answer, wanted, prompts)))

    async def _whole(self, answer: Answer, wanted: Completion, prompts: list[list[int]]) -> dict[str, object]:
        choices, count = [], 0
        for index, ids in enumerate(prompts):
            out, finish = [], "length"
            async with aclosing(self._generate(wanted, ids, at_once=True)) as pieces:
                async for piece in pieces:
                    out += piece.ids
                    finish = piece.finish or finish
            choices.append(answer.choice(index, "", finish, token_ids=out))
            count += len(out)
        return answer.whole(choices, usage(sum(map(len, prompts)), count))

    async def _chunks(self, answer: Answer, wanted: Completion, prompts: list[list[int]]) -> Chunks:
        count = 0
        for index, ids in enumerate(prompts):
            async with aclosing(self._generate(wanted, ids, at_once=False)) as pieces:
                async for piece in pieces:
                    count += len(piece.ids)
                    yield answer.chunk(index, "", piece.finish, token_ids=piece.ids)
        if wanted.wishes.include_usage:
            yield answer.usage_chunk(usage(sum(map(len, prompts)), count))

    def _generate(self, wanted: Completion, ids: list[int], *, at_once: bool) -> Pieces:
        return self._backend.generate(ids, wanted.wishes.sampling(1, wanted.wishes.stop_ids), at_once)
