"""Clients that share something other than one-hot vectors: refused by real models, in either family, at any step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from secure.models.checkpoint.conversion import Checkpoint, read_checkpoint, read_manifest, read_share, write_split
from secure.models.contract.exchange import step_outputs
from secure.models.contract.manifest import Manifest
from secure.models.contract.network import Inputs
from secure.models.contract.request import Output
from secure.models.graph.capture import capture
from secure.models.program import load, network, serve
from secure.protocols.core.cost import Meter
from secure.protocols.core.errors import InputError
from secure.protocols.core.secret import Protocol
from secure.protocols.families import family as family_named
from secure.protocols.replicated.seeds import PartySeeds
from tests.families import FAMILIES
from tests.in_process import BEAVER, Family, GivenSteps, RoleFailure
from tests.models.decoders import save_decoder, words
from tests.models.runs import party_index

Change = Callable[[Tensor], Tensor]
Payloads = list[tuple[bytes, ...]]
PROMPT: Inputs = {"input_ids": words(2, 3)}
NEXT: Inputs = {"input_ids": words(2, 1)}
each_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """With two vectors a token: of its word and of its position."""
    folder = tmp_path_factory.mktemp("decoder")
    save_decoder(folder, "gpt2", n_layer=1)
    return read_checkpoint(folder)


def look_up() -> Checkpoint:
    """A module that is nothing but a table: after it no party waits for another one."""
    torch.manual_seed(2)
    return capture(nn.Embedding(9, 4).eval(), torch.tensor([[1, 2, 8]]))


def shared(manifest: Manifest, output: Output, inputs: Sequence[Inputs], change: Change = lambda x: x) -> Payloads:
    """What a client sends that changes its one-hot vectors at the last step."""
    net, found = network(manifest), []
    request = net.request(output, inputs[0], steps=len(inputs))
    for step, given in enumerate(inputs):
        specs = net.input_specs(request, step)
        tensors = net.client_inputs(request, given, {}, specs, step)
        for name, spec in specs.items():
            if spec.one_hot and step == len(inputs) - 1:
                tensors[name] = change(tensors[name])
        found.append(family_named(manifest.protocol).share(tensors, specs))
    return found


def run(
    manifest: Manifest,
    folder: Path,
    family: Family,
    output: Output,
    inputs: Sequence[Inputs],
    payloads: Payloads,
    answered: list[bytes] | None = None,
    **seeds: Any,
) -> tuple[list[dict[str, Tensor]], dict[str, Meter]]:
    """A session. answered: collects what parties sent to the client, also where one of them failed."""
    net = network(manifest)
    request = net.request(output, inputs[0], steps=len(inputs))

    def program(protocol: Protocol, _: list[Tensor | None]) -> Any:
        index = party_index(protocol)
        shares = None if index is None else read_share(folder / f"p{index}.safetensors", manifest, f"p{index}")
        client = GivenSteps(*(b"" if index is None else each[index] for each in payloads))
        try:
            serve(protocol, load(protocol, manifest, shares), request, client, index)
        finally:
            if answered is not None:
                answered.extend(client.outputs)
        return client.outputs

    outputs, meters, _ = family.run(program, [], policy=manifest.policy, **seeds)
    answers = zip(*outputs, strict=True)
    return [step_outputs(net, request, each, step) for step, each in enumerate(answers)], meters


def times_32(x: Tensor) -> Tensor:
    return 32 * x


def beside(x: Tensor) -> Tensor:
    """Half the ring at the first entry of the last vector."""
    x = x.clone()
    x[-1, -1, 0] += 1 << 23
    return x


def refused(
    manifest: Manifest, folder: Path, family: Family, output: Output, inputs: Sequence[Inputs], change: Change
) -> list[bytes]:
    """What the client got before the step at which every computing party refuses it."""
    answered: list[bytes] = []
    with pytest.raises(RoleFailure) as failure:
        run(manifest, folder, family, output, inputs, shared(manifest, output, inputs, change), answered)
    errors = {role: error for role, error in failure.value.errors.items() if role != "dealer"}
    assert {type(error) for error in errors.values()} == {InputError}
    assert len(errors) == (2 if family is BEAVER else 3)
    return answered


@each_family
@pytest.mark.parametrize("change", [times_32, beside])
def test_a_deviating_client_gets_nothing(change: Change, family: Family, decoder: Checkpoint, tmp_path: Path) -> None:
    manifest = write_split(decoder, tmp_path, protocol=family.name)
    assert refused(manifest, tmp_path, family, "next_logits", [PROMPT], change) == []


@each_family
def test_every_step_is_checked(family: Family, decoder: Checkpoint, tmp_path: Path) -> None:
    manifest = write_split(decoder, tmp_path, protocol=family.name)
    got = refused(manifest, tmp_path, family, "next_token", [PROMPT, NEXT], beside)
    assert len(got) == (2 if family is BEAVER else 3), "the answers to the honest first step, and no more"


@each_family
def test_a_table_alone_is_not_read(family: Family, tmp_path: Path) -> None:
    manifest = write_split(look_up(), tmp_path, protocol=family.name)
    inputs: list[Inputs] = [{"input": torch.tensor([[1, 2, 8]])}]
    assert refused(manifest, tmp_path, family, "hidden", inputs, times_32) == []


@each_family
def test_the_check_changes_no_result(family: Family, decoder: Checkpoint, tmp_path: Path) -> None:
    """Bit for bit, under the same seeds. Where P0 and P1 make its rounds along with others, there are no more."""
    checked = write_split(decoder, tmp_path, protocol=family.name)
    unchecked = replace(checked, checks_one_hot=False)
    payloads, pairwise = shared(checked, "next_logits", [PROMPT]), [bytes([i] * 16) for i in range(3)]
    of_three = [PartySeeds(pairwise[i], pairwise[i - 1], bytes(16)) for i in range(3)]
    seeds = {"seeds": tuple(pairwise[:2]) if family is BEAVER else of_three, "session": bytes(16)}
    found, meters = {}, {}
    for manifest in (checked, unchecked):
        (found[manifest.checks_one_hot],), meters[manifest.checks_one_hot] = run(
            manifest, tmp_path, family, "next_logits", [PROMPT], payloads, **seeds
        )
    assert torch.equal(found[True]["logits"], found[False]["logits"])
    # Two parties count every round: of three the one that helps does not.
    rounds = {checks: sum(role.total.rounds for role in each.values()) // 2 for checks, each in meters.items()}
    assert rounds[True] - rounds[False] == (0 if family is BEAVER else 2)
    assert {layer for layer, _ in meters[True]["p0"].rows} - {layer for layer, _ in meters[False]["p0"].rows} == {
        "inputs"
    }


def test_an_owner_may_trust_its_clients(decoder: Checkpoint, tmp_path: Path) -> None:
    """It says so in the manifest, which every handshake compares; then its clients may read its tables."""
    manifest = write_split(decoder, tmp_path, checks_one_hot=False)
    assert not manifest.checks_one_hot and read_manifest(tmp_path) == manifest
    assert replace(manifest, checks_one_hot=True).digest != manifest.digest
    (answer,), _ = run(
        manifest, tmp_path, BEAVER, "next_logits", [PROMPT], shared(manifest, "next_logits", [PROMPT], times_32)
    )
    assert bool(answer["logits"].isfinite().all())
