"""From what a user names, an address, a folder or nothing, to what runs an encrypted checkpoint."""

from __future__ import annotations

from pathlib import Path

from secure.ee.client.budget import BudgetedRunner
from secure.ee.client.counted import CountedRunner
from secure.ee.client.next_epoch import NextEpochs
from secure.ee.engine.server_engine import TransformersEngine
from secure.ee.files.checkpoint import OpenedCheckpoint, open_checkpoint
from secure.ee.files.claims import Claim
from secure.parties.client.receipt import SessionReceipt
from secure.parties.encrypted.client import GenerationClient
from secure.parties.encrypted.receipts import TakeReceipt
from secure.parties.encrypted.runner import EngineRunner, Runner
from secure.protocols.core.errors import CheckpointError, ConfigurationError


def open_runner(
    checkpoint: OpenedCheckpoint,
    server: Path | str | None,
    certificates: Path | str | None,
    device: str,
    take_receipt: TakeReceipt | None = None,
) -> Runner:
    """What runs a client's checkpoint. Arguments and errors as for `EncryptedModel.from_pretrained`.

    take_receipt: gets what a server at an address signed of each call.
    """
    if isinstance(server, str) and not Path(server).is_dir():
        if certificates is None:
            raise ConfigurationError(
                f"{server} is a server's address, which needs certificates: the folder with authority.crt, client.crt "
                "and client.key; if it should be a folder, there is none of that name"
            )
        party = GenerationClient(
            server,
            Path(certificates),
            checkpoint.key.check_value,
            check_manifest=checkpoint.check_served,
            take_receipt=take_receipt,
        )
        try:
            party.describe()
        except BaseException:
            party.close()
            raise
        return party
    folder = checkpoint.folder if server is None else Path(server)
    manifest = open_checkpoint(folder, checkpoint.key).manifest
    if manifest.mode == "client":
        raise CheckpointError(f"{folder} is a split checkpoint's client side; name the other side with server=")
    if checkpoint.manifest.mode == "split":
        raise CheckpointError(f"{folder} has a split checkpoint's layers alone; open the client's folder with server=")
    checkpoint.manifest.check_same_model(manifest, str(folder))
    manifest.check_files(folder)
    return EngineRunner(TransformersEngine(folder, device))


def open_counted(
    checkpoint: OpenedCheckpoint,
    server: Path | str | None,
    certificates: Path | str | None,
    device: str,
    claim: Claim,
    epochs: NextEpochs | None,
) -> CountedRunner:
    """What runs a client's checkpoint within its claim's budget, with costs and receipts of each call.

    epochs: the vocabularies that are taken when one is spent. Raises what `open_runner` and `BudgetedRunner` raise.
    """
    receipts: list[SessionReceipt] = []
    # A folder serves one vocabulary; of an address, the server takes the next one, too.
    of_others = None if epochs is not None and server is not None and Path(server).is_dir() else server

    def run(wanted: OpenedCheckpoint) -> Runner:
        where = server if wanted is checkpoint else of_others
        return open_runner(wanted, where, certificates, device, receipts.append)

    return CountedRunner(BudgetedRunner(checkpoint, run, claim.tokens_limit, epochs), receipts)
