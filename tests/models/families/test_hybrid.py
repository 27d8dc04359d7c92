"""BERT by a client and a model's owner alone, who make all correlations themselves, agrees with transformers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

pytest.importorskip("tenseal")

from secure.models.checkpoint.conversion import Checkpoint, read_checkpoint, read_share, write_split
from secure.models.contract.exchange import input_payloads, step_outputs
from secure.models.contract.network import Inputs
from secure.models.contract.request import Output
from secure.models.program import Nobody, load, network, serve
from secure.protocols.core.secret import Protocol
from secure.protocols.hybrid.protocol import HybridMaker, HybridParty
from tests.in_process import GivenSteps
from tests.models.families.test_bert import HIDDEN_ERROR
from tests.protocols.hybrid.two_parties import Pass, make, use


def predicted(
    checkpoint: Checkpoint, folder: Path, output: Output, inputs: Inputs
) -> tuple[dict[str, Tensor], tuple[Pass, Pass]]:
    """One prediction by both parties in this process, from a making of its own; what both passes took."""
    manifest = write_split(checkpoint, folder, protocol="hybrid")
    net = network(manifest)
    request = net.request(output, inputs)
    payloads = input_payloads(net, request, inputs, checkpoint.embeddings, 0)

    def program(protocol: Protocol, _: Sequence[Tensor | None]) -> Any:
        assert isinstance(protocol, HybridMaker | HybridParty)
        index = protocol.role.index
        model = load(protocol, manifest, read_share(folder / f"p{index}.safetensors", manifest, f"p{index}"))
        if isinstance(protocol, HybridMaker):
            return serve(protocol, model, request, Nobody(), None)
        client = GivenSteps(payloads[index])
        serve(protocol, model, request, client, index)
        return client.outputs[0]

    stocks, made = make(program, 0, policy=manifest.policy, garbler="nobody")
    used = use(program, stocks, [], manifest.policy)
    return step_outputs(net, request, used.results, 0), (made, used)


@pytest.mark.parametrize(
    ("changes", "batch", "tokens", "masked"),
    [
        ({}, 1, 5, False),
        pytest.param({"num_hidden_layers": 1}, 2, 6, True, marks=pytest.mark.slow),
    ],
    ids=["two-layers", "masked"],
)
def test_agrees_with_transformers(
    changes: dict[str, Any],
    batch: int,
    tokens: int,
    masked: bool,
    save_bert: Callable[..., tuple[Path, Any]],
    tmp_path: Path,
) -> None:
    folder, reference = save_bert(**changes)
    checkpoint = read_checkpoint(folder, weights="server")
    ids, mask = torch.randint(0, 61, (batch, tokens)), torch.ones(batch, tokens, dtype=torch.int64)
    if masked:
        mask[1, tokens - 2 :] = 0
    with torch.no_grad():
        due = reference(input_ids=ids, attention_mask=mask)
    inputs = {"input_ids": ids, "attention_mask": mask}
    found, passes = predicted(checkpoint, tmp_path / "split", "hidden", inputs)
    difference = (found["last_hidden_state"] - due.last_hidden_state)[mask.bool()].abs().max()
    assert difference < HIDDEN_ERROR
    assert (found["pooler_output"] - due.pooler_output).abs().max() < HIDDEN_ERROR + 8e-4  # tanh's own error
    for done in passes:
        for index, meter in enumerate(done.meters):
            assert all(row.measured == row.declared.at(f"p{index}") for row in meter.rows.values())
