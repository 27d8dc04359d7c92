"""The engine of real parties: models' two programs over the protocol that the tools are for."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import torch

from secure.models import program
from secure.models.checkpoint.conversion import read_share
from secure.models.contract.manifest import Manifest
from secure.models.contract.request import Request
from secure.models.families.bert import BertConfig, parameters
from secure.models.storage import kept_model
from secure.models.storage.capacity import human_bytes, needed_bytes, plan_room
from secure.models.storage.kept_model import Kept
from secure.models.storage.weight_file import WeightFile
from secure.models.storage.working_set import WorkingSets
from secure.parties.config import Limits
from secure.parties.roles import memory
from secure.parties.roles.engine import Digests, Engine, MeterRows, SessionTools, Tools
from secure.protocols.beaver.protocol import BeaverDealer
from secure.protocols.core.channel import Channel, Payload
from secure.protocols.core.cost import CostTally, Meter
from secure.protocols.core.errors import CheckpointError, ProtocolError
from secure.protocols.core.factor import Keep, multiplies_bytes, prepare_apart
from secure.protocols.core.fixedpoint import FixedPointPolicy
from secure.protocols.core.prg import SEED_BYTES
from secure.protocols.core.profile import Profile
from secure.protocols.core.transfer import CPU, find_device

_LOG = logging.getLogger("parties")


class ModelEngine(Engine):
    """Loads and runs the models of `secure.models.program`."""

    def __init__(
        self, memory_bytes: int | None = None, device: torch.device = CPU, warm: Future[None] | None = None
    ) -> None:
        """memory_bytes: as in `secure.parties.config.Limits`; on a graphics card, of the card's memory.

        warm: what has to have happened before anything is computed; kept models are read beside it.
        """
        self._memory_bytes = memory_bytes
        self._warm = warm
        self._device = device
        self._working_sets = WorkingSets()

    def digests(self, manifest_json: str) -> Digests:
        manifest = Manifest.from_json(manifest_json)
        return Digests(manifest.digest, manifest.policy.digest())

    def find_share(self, models_dir: Path | None, manifest_json: str, role: str) -> Path:
        """`secure split` writes manifest.json and ROLE.safetensors together; look in models_dir and its folders.

        A folder whose manifest cannot be read, such as one of an older format, is passed over.
        """
        if models_dir is None:
            raise CheckpointError(f"{role} has no [models] dir in its settings; set it, or upload the shares")
        digest = Manifest.from_json(manifest_json).digest
        unreadable: list[str] = []
        for manifest_file in sorted([*models_dir.glob("manifest.json"), *models_dir.glob("*/manifest.json")]):
            share = manifest_file.with_name(f"{role}.safetensors")
            if not share.is_file():
                continue
            try:
                manifest = Manifest.from_json(manifest_file.read_text(encoding="utf-8"))
            except (CheckpointError, OSError, UnicodeDecodeError) as error:
                _LOG.warning("%s is passed over, its manifest cannot be read: %s", share.parent, error)
                unreadable.append(str(share.parent))
                continue
            if manifest.digest == digest:
                return share
        but = f" (passed over, as their manifests cannot be read: {', '.join(unreadable)})" if unreadable else ""
        raise CheckpointError(
            f"{role} has no share of model {digest[:12]} in {models_dir}{but}; copy it there, or upload it"
        )

    def load(self, tools: Tools, manifest_json: str, share: Path | None) -> tuple[object, MeterRows]:
        self._wait_until_warm()
        with memory.loading():
            return self._load(tools, Manifest.from_json(manifest_json), share)

    def _load(self, tools: Tools, manifest: Manifest, share: Path | None) -> tuple[program.LoadedModel, MeterRows]:
        # Read first: a bad file is refused before any party sends a message about it.
        shares, index = None, tools.index
        if manifest.protocol != tools.family.name:
            raise CheckpointError(
                f"the model was split for the protocol {manifest.protocol!r}, the parties compute by "
                f"{tools.family.name!r}; split it again"
            )
        role = "dealer" if index is None else f"p{index}"
        weight_file = None
        if self._device.type == "cpu":
            weight_file = self._weight_file(manifest, role, share)
        else:
            self._check_card(manifest, role)
        if index is not None:
            if share is None:
                raise CheckpointError(f"{role} has no share of the model")
            shares = read_share(share, manifest, role)
        meter = Meter()
        protocol = tools.protocol(manifest.policy, meter, self._device)
        keep: Keep | None = None if weight_file is None else weight_file.keep
        if keep is None and tools.apart:
            keep = partial(prepare_apart, few_rows=program.network(manifest).few_rows)
        model = program.load(protocol, manifest, shares, keep)
        protocol.finish()
        if weight_file is not None:
            weight_file.finish()
        return model, meter.snapshot()

    def _wait_until_warm(self) -> None:
        if self._warm is not None:
            self._warm.result()

    def written(self, model: object) -> Iterator[Payload]:
        return kept_model.written(_loaded(model).weights, self._device)

    def read(self, manifest_json: str, role: str, kept: Kept) -> program.LoadedModel:
        manifest, weight_file = Manifest.from_json(manifest_json), None
        with memory.loading():
            if self._device.type == "cpu":
                weight_file = self._weight_file(manifest, role, None)
            else:
                self._check_card(manifest, role)
            weights = kept_model.read(kept, self._device, None if weight_file is None else weight_file.place)
        if weight_file is not None:
            weight_file.finish()
        return program.LoadedModel(manifest, weights)

    def _weight_file(self, manifest: Manifest, role: str, share: Path | None) -> WeightFile | None:
        """A file for the weights that memory does not hold. Raises CheckpointError when it has no room, either."""
        uploaded = share.stat().st_size if share is not None and share.parent == memory.UPLOADS else 0
        free, few_rows = memory.free_bytes(self._memory_bytes, uploaded), program.network(manifest).few_rows
        if free is None:
            return None
        digits = multiplies_bytes(CPU) and not few_rows
        folder = memory.scratch_folder()
        try:
            room = plan_room(manifest, role, free, folder, digits=digits)
        except CheckpointError as error:
            raise CheckpointError(f"{error}; {memory.FULL}") from None
        if room.disk_bytes == 0:
            return None
        _LOG.info(
            "%s may be taken: %s of weights stay in memory, %s are read from %s at each use",
            *(human_bytes(count) for count in (free, room.memory_bytes, room.disk_bytes)),
            folder,
        )
        return WeightFile(folder, room, few_rows=few_rows)

    def _check_card(self, manifest: Manifest, role: str) -> None:
        """Raises CheckpointError when the model does not fit on the card: its weights are not read from a disk."""
        need = needed_bytes(manifest, role, digits=True)
        free = memory.free_card_bytes(self._device, self._memory_bytes)
        if need > free:
            raise CheckpointError(
                f"{role} needs {human_bytes(need)} of memory on {self._device} for this model, of which "
                f"{human_bytes(free)} are free; use another card, or the CPU, which reads from a disk what does not "
                f"fit; {memory.FULL}"
            )

    def working_set_bytes(self, model: object, request_json: str) -> int:
        request, net = Request.from_json(request_json), program.network(_loaded(model).manifest)
        net.validate(request)
        return self._working_sets.bytes(net, request)

    def making_bytes(self, tools: SessionTools, model: object, request_json: str) -> int:
        loaded, tally = _loaded(model), CostTally()
        outline = tools.outline(loaded.manifest.policy, tally)
        with torch.inference_mode():
            program.serve(outline, loaded, Request.from_json(request_json), program.Nobody(), None)
        return tally.kept_bytes

    def free_bytes(self) -> int | None:
        if self._device.type == "cpu":
            return memory.free_bytes(self._memory_bytes)
        return memory.free_card_bytes(self._device, self._memory_bytes)

    def predict(
        self, tools: Tools, model: object, request_json: str, client: program.ClientSteps, profile: Profile
    ) -> tuple[bool, MeterRows]:
        loaded, request = _loaded(model), Request.from_json(request_json)
        self._wait_until_warm()
        meter = Meter()
        protocol = tools.protocol(loaded.manifest.policy, meter, self._device)
        protocol.profile = profile
        with torch.inference_mode():
            stopped = program.serve(protocol, loaded, request, client, tools.index)
        if not stopped:  # what the dealer had made for the next step is dropped with the links
            protocol.finish()
        return stopped, meter.snapshot()


def _loaded(model: object) -> program.LoadedModel:
    if not isinstance(model, program.LoadedModel):
        raise ProtocolError("the store holds something other than a model")
    return model


def model_engine(limits: Limits, device: str) -> Engine:
    """The engine of a process that keeps these limits. Raises ConfigurationError when the device is not there."""
    found = find_device(device)
    torch.set_num_threads(limits.threads)
    pool = ThreadPoolExecutor(1, thread_name_prefix="warm-up")
    warm = pool.submit(warm_up, found)
    pool.shutdown(wait=False)
    return ModelEngine(limits.memory_bytes, found, warm)


class _Discard(Channel):
    """Where corrections go that nobody wants."""

    peer = "nobody"

    def send(self, payload: Payload) -> None:
        pass

    def receive(self) -> memoryview:
        raise ProtocolError("nothing comes from here")


def warm_up(device: torch.device) -> None:
    """Deal a tiny model to nobody: compiled loops, tables and imports are then there before the first client."""
    config = BertConfig(1, 4, 1, 1, 4, 2, 1, 1e-12)
    policy = FixedPointPolicy()
    sizes = parameters(config, policy.fraction_bits, public=False)
    manifest = Manifest("bert", config.to_dict(), policy, "private", sizes)

    def dealer() -> BeaverDealer:
        return BeaverDealer(
            (os.urandom(SEED_BYTES), os.urandom(SEED_BYTES)),
            os.urandom(SEED_BYTES),
            _Discard(),
            policy,
            device=device,
        )

    model = program.load(dealer(), manifest, None)
    program.serve(dealer(), model, Request("embedding", 1, 2, True), program.Nobody(), None)
