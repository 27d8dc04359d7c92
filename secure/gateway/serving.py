"""Private models for programs that speak OpenAI's API: a process at the client's side, which sees texts in the clear.

A language model answers, an encoder gives embeddings. Texts become token ids, and ids shares, in this process; what
goes to the parties is what any client sends.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

from secure.api import PrivateModel
from secure.gateway.batcher import MOST_ROWS, Batcher, Rows
from secure.gateway.generations import PrivateTokens
from secure.gateway.ledger import SessionLedger
from secure.gateway.page_files import page_routes
from secure.gateway.told import Told
from secure.http import kept_receipts
from secure.http.app import LOOPBACK
from secure.http.callers import Callers
from secure.http.completions import completions_app
from secure.http.host import callers_names, log_to_stderr, serve_until_stopped
from secure.http.text_backend import TextBackend
from secure.models import program
from secure.models.checkpoint.shapes import manifest_of_folder
from secure.models.families.decoder import Decoder
from secure.models.families.encoder import Encoder
from secure.protocols.core.errors import InputError
from secure.tokens import check_rows, required

_LOG = logging.getLogger("secure.gateway")


class Gateway:
    """One model behind the endpoints. `app` is the application; `close` ends what runs beside it."""

    def __init__(
        self,
        model: PrivateModel,
        names: Sequence[str],
        *,
        callers: Callers | None = None,
        hosts: Sequence[str] = LOOPBACK,
        origins: Sequence[str] = (),
        most_rows: int = MOST_ROWS,
    ) -> None:
        """names: what callers may call the model. most_rows: texts, or answers, in one session.

        Other arguments as for `secure.http.completions.completions_app`. Raises CheckpointError for a model without a
        tokenizer, and InputError for one that neither generates nor has sentence embeddings.
        """
        tokenizer, network = required(model.tokenizer), model.network
        self.ledger = SessionLedger()
        model.heed_reports(self.ledger.heed)
        self._batcher: Batcher | None = None
        if isinstance(network, Decoder):
            sizes = network.sizes
            tokens = PrivateTokens(model, sizes.positions, sizes.vocabulary, most_rows=most_rows, ledger=self.ledger)
            backend = TextBackend(tokenizer, tokens, names, about={"serves": "answers"})
        elif isinstance(network, Encoder):
            embed = partial(model.embed, batch_size=most_rows, progress=False)
            self._batcher = Batcher(embed, most_rows, self.ledger)
            self._limits = {"limit": network.config.max_position_embeddings, "vocabulary": network.config.vocab_size}
            backend = TextBackend(tokenizer, None, names, self._embed, {"serves": "embeddings"})
        else:
            raise InputError(
                f"a model of type {model.manifest.architecture!r} neither generates text nor has sentence embeddings; "
                "the gateway serves those that do"
            )
        told = Told(self.ledger, model)
        self.app = completions_app(
            backend,
            callers=callers,
            hosts=hosts,
            origins=origins,
            more_routes={
                "/metrics": ("GET", told.metrics),
                "/v1/sessions/{number:int}": ("GET", told.session),
                kept_receipts.PATH: ("GET", self.ledger.receipts.told),
            },
            open_routes={"/ready": told.ready, **page_routes()},
            heed=self.ledger.answered,
        )

    def close(self) -> None:
        """End the sessions of embeddings."""
        if self._batcher is not None:
            self._batcher.close()

    def _embed(self, rows: Rows) -> list[list[float]]:
        """What is wrong with a caller's rows is said to that one alone, before they stand beside others'."""
        assert self._batcher is not None
        check_rows(rows, **self._limits)
        return self._batcher(rows)


def run_gateway(
    model: PrivateModel,
    *,
    listen: str,
    names: Sequence[str],
    callers: Callers,
    origins: Sequence[str],
    parent_on_stdin: bool,
) -> None:
    """Serve until SIGTERM or SIGINT. Arguments as the options of `secure gateway`, who may reach `listen` is checked.

    Raises as `Gateway`.
    """
    log_to_stderr()
    with closing(Gateway(model, names, callers=callers, hosts=callers_names(listen), origins=origins)) as gateway:
        _LOG.info("this process sees texts in the clear; the parties get shares of them")
        serve_until_stopped(gateway.app, listen, "gateway", names, parent_on_stdin=parent_on_stdin)


def is_language_model(folder: Path) -> bool:
    """Whether a checkpoint or split folder holds a model that generates. Raises CheckpointError for what is neither."""
    return isinstance(program.network(manifest_of_folder(folder)), Decoder)
