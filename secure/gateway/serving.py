"""Private models for programs that speak OpenAI's API: a process at the client's side, which sees texts in the clear.

A language model answers, an encoder gives embeddings. Texts become token ids, and ids shares, in this process; what
goes to the parties is what any client sends.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from secure.api import PrivateModel
from secure.connection import Parties
from secure.gateway.batcher import MOST_ROWS, Batcher, Rows
from secure.gateway.private_tokens import PrivateTokens
from secure.http.app import LOOPBACK
from secure.http.completions import completions_app
from secure.http.host import HttpServer, is_loopback, parsed
from secure.http.text_backend import TextBackend
from secure.models.checkpoint.conversion import MANIFEST_NAME
from secure.models.contract.manifest import WeightVisibility
from secure.models.families.decoder import Decoder
from secure.models.families.encoder import Encoder
from secure.parties.process.main import stop_on_signals, wait_until_set
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
        api_key: str | None = None,
        hosts: Sequence[str] = LOOPBACK,
        origins: Sequence[str] = (),
        most_rows: int = MOST_ROWS,
    ) -> None:
        """names: what callers may call the model. most_rows: texts to embed in one session.

        Other arguments as for `secure.http.app.make_app`. Raises CheckpointError for a model without a tokenizer, and
        InputError for one that neither generates nor has sentence embeddings.
        """
        tokenizer, network = required(model.tokenizer), model.network
        self._model = model
        self._batcher: Batcher | None = None
        if isinstance(network, Decoder):
            backend = TextBackend(tokenizer, PrivateTokens(model, network.sizes.positions), names)
        elif isinstance(network, Encoder):
            self._batcher = Batcher(partial(model.embed, batch_size=most_rows, progress=False), most_rows)
            self._limits = {"limit": network.config.max_position_embeddings, "vocabulary": network.config.vocab_size}
            backend = TextBackend(tokenizer, None, names, self._embed)
        else:
            raise InputError(
                f"a model of type {model.manifest.architecture!r} neither generates text nor has sentence embeddings; "
                "the gateway serves those that do"
            )
        self.app = completions_app(backend, api_key=api_key, hosts=hosts, origins=origins)

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
    parties: Parties,
    folder: Path,
    *,
    weights: WeightVisibility | None,
    listen: str,
    names: Sequence[str],
    api_key: str | None,
    origins: Sequence[str],
    parent_on_stdin: bool,
) -> None:
    """Load the model and serve until SIGTERM or SIGINT. Arguments as the options of `secure gateway`.

    Who may reach `listen` was checked before. Raises CheckpointError before anything is shared, and SessionError and
    its kinds.
    """
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S"
    )
    is_split = (folder / MANIFEST_NAME).is_file()
    stopping = stop_on_signals(parent_on_stdin)
    with ExitStack() as running:
        # An embedding needs no head; a split folder has the head that it was split with.
        head = is_split or _is_language_model(folder)
        model = PrivateModel.from_pretrained(folder, parties=parties, weights=weights, head=head)
        if not is_split:
            # What was split for this process nobody can use after it.
            running.enter_context(model)
        hosts = LOOPBACK if is_loopback(listen) else ()
        gateway = Gateway(model, names, api_key=api_key, hosts=hosts, origins=origins)
        running.callback(gateway.close)
        server = HttpServer(gateway.app, listen)
        port = server.start()
        running.callback(server.stop)
        _LOG.info("this process sees texts in the clear; the parties get shares of them")
        if not is_loopback(listen):
            _LOG.warning("texts cross the network in clear between programs and this gateway")
        _LOG.info("gateway on http://%s:%d/v1, models: %s", parsed(listen)[0], port, ", ".join(names))
        wait_until_set(stopping)
        _LOG.info("stopping")


def _is_language_model(folder: Path) -> bool:
    """Whether a checkpoint says that it generates. What cannot be read here is said when the model is loaded."""
    try:
        fields = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    named = fields.get("architectures") if isinstance(fields, dict) else None
    return any(str(name).endswith(("ForCausalLM", "LMHeadModel")) for name in named or ())
