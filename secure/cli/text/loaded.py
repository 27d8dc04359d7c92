"""A private model for one command: at parties that run, or at some that are started for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from secure.cli.adversary import Security, protocol_for
from secure.cli.lazy_imports import lazy_imports
from secure.cli.options import NetworkProfile, ProtocolName, Weights

if TYPE_CHECKING:
    from secure.api import PrivateModel

with lazy_imports(__name__):
    from secure import api, connection
    from secure.models.checkpoint import conversion


@contextmanager
def loaded(
    folder: Path,
    config: Path | None,
    protocol: ProtocolName,
    weights: Weights | None,
    *,
    head: bool,
    security: Security | None = None,
    profile: NetworkProfile | None = None,
) -> Iterator[PrivateModel]:
    """Inside the block the parties hold the model. Arguments as the commands' options.

    config: of parties that run; None starts some here. head: whether a checkpoint's head is needed; a split folder has
    the one that it was split with. security: as for `protocol_for`, before anything is started.

    Raises CheckpointError and ConfigurationError, and SessionError and its kinds.
    """
    wanted = protocol_for(protocol, security, config)
    with ExitStack() as ending:
        if config is None:
            parties = connection.launch(protocol=wanted, profile=profile)
        else:
            parties = connection.connect(config, profile=profile)
        ending.enter_context(parties)
        is_split = (folder / conversion.MANIFEST_NAME).is_file()
        model = api.PrivateModel.from_pretrained(folder, parties=parties, weights=weights, head=head or is_split)
        if config is not None and not is_split:
            # These parties stay, and what was split for this command nobody can use after it.
            ending.enter_context(model)
        yield model
