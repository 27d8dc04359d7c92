"""What a session costs by its price is what a run of all roles was measured to cost, layer by layer."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.ops import by_op
from secure.models import program
from secure.models.checkpoint.conversion import Checkpoint, read_checkpoint, read_manifest
from secure.models.checkpoint.shapes import manifest_of_folder
from secure.models.contract.exchange import input_payloads
from secure.models.contract.network import Inputs
from secure.models.contract.request import Output, Request
from secure.models.graph.capture import capture
from secure.models.layers.mixtures import KINDS
from secure.models.price import Amount, Price, price, total
from secure.protocols.core.cost import Meter
from secure.protocols.core.errors import CheckpointError, InputError, ProtocolError
from secure.protocols.masked.outline import keep_nothing
from tests.families import FAMILIES
from tests.models.decoders import save_decoder, words
from tests.models.images import pixels, save_vit
from tests.models.kin import save_model
from tests.models.runs import secure_steps
from tests.sampling import product_of

BY_NAME = {each.name: each for each in FAMILIES}
Made = tuple[Checkpoint, Output, list[Inputs]]
"""A checkpoint, what is asked for, and the inputs of each step."""


def bert(folder: Path, weights: Any) -> Made:
    save_model(folder, "bert", "sequence")
    ids = words(2, 7)
    return read_checkpoint(folder, weights=weights), "logits", [{"input_ids": ids, "attention_mask": ids > 9}]


def gpt2(folder: Path, weights: Any) -> Made:
    save_decoder(folder, "gpt2")
    return read_checkpoint(folder, weights=weights), "next_token", [{"input_ids": words(1, n)} for n in (5, 1)]


def llama(folder: Path, weights: Any) -> Made:
    save_decoder(folder, "llama")
    return read_checkpoint(folder, weights=weights), "next_logits", [{"input_ids": words(2, n)} for n in (4, 1, 1)]


def mpc_vit(folder: Path, weights: Any) -> Made:
    model = save_vit(folder, hidden_size=16, num_attention_heads=4, image_size=9, patch_size=3)
    path = folder / "config.json"
    plan = {"attention_kinds": [[*KINDS][1:], ["scale"] * 4], "activations": ["gelu", "none"]}
    plan["norms"] = [["layer", "affine"], ["affine", "affine"]]
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_type": "mpc_vit"} | plan))
    return read_checkpoint(folder, weights=weights), "logits", [{"pixel_values": pixels(1, model)}]


def mpc_bert(folder: Path, weights: Any) -> Made:
    save_model(folder, "bert", "sequence", hidden_size=16, num_attention_heads=4)
    path = folder / "config.json"
    plan = {"attention_kinds": [[*KINDS][1:], ["scale"] * 4], "activations": ["gelu", "none"]}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_type": "mpc_bert"} | plan))
    ids = words(2, 7)
    return read_checkpoint(folder, weights=weights), "logits", [{"input_ids": ids, "attention_mask": ids > 9}]


def mpc_gpt2(folder: Path, weights: Any) -> Made:
    save_decoder(folder, "gpt2")
    path = folder / "config.json"
    plan = {"attention_kinds": [["scale", "relu", "square"], ["scale", "bounded", "softmax"]]}
    plan |= {"activations": ["none", "gelu_new"], "norms": [["layer", "affine"], ["affine", "layer"]]}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_type": "mpc_gpt2"} | plan))
    inputs = [{"input_ids": words(2, n), "attention_mask": words(2, 5) > 0} for n in (5, 1, 1)]
    inputs[0]["attention_mask"][1, :2] = False
    return read_checkpoint(folder, weights=weights), "next_logits", inputs


def module(folder: Path, weights: Any) -> Made:
    torch.manual_seed(0)
    made = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.ReLU(), torch.nn.Softmax(-1), torch.nn.Linear(7, 3))
    x = torch.randn(4, 5)
    checkpoint = capture(made.eval(), [x], weights=weights)
    (name,) = (given["name"] for given in checkpoint.manifest.config["inputs"])
    return checkpoint, "hidden", [{name: x}]


MODELS: Mapping[str, Callable[[Path, Any], Made]] = {
    "bert": bert,
    "gpt2": gpt2,
    "llama": llama,
    "mpc_bert": mpc_bert,
    "mpc_gpt2": mpc_gpt2,
    "mpc_vit": mpc_vit,
    "module": module,
}


@product_of(model=list(MODELS), weights=["private", "public", "server"], protocol=list(BY_NAME))
def test_a_run_costs_its_price(model: str, weights: Any, protocol: str, tmp_path: Path) -> None:
    if weights == "server" and protocol != "beaver":
        weights = "private"
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    checkpoint, output, inputs = MODELS[model](folder, weights)
    _, meters = secure_steps(checkpoint, tmp_path / "split", output, inputs, family=BY_NAME[protocol])
    manifest = read_manifest(tmp_path / "split")
    net = program.network(manifest)
    request = net.request(output, inputs[0], steps=len(inputs))
    found = price(manifest, request)
    measured = measured_layers(meters)
    loading = {layer: amount for layer, amount in measured.items() if layer == "load"}
    assert without_products(found.loading) == total(loading)
    session = {layer: amount for layer, amount in measured.items() if layer not in loading}
    assert {layer: without_products(amount) for layer, amount in found.layers.items()} == session
    payloads = [input_payloads(net, request, given, checkpoint.embeddings, step) for step, given in enumerate(inputs)]
    assert found.sent_bytes == sum(len(payload) for of_step in payloads for payload in of_step)
    if model != "module":
        head = output != "hidden"
        unread = manifest_of_folder(folder, weights=weights, protocol=protocol, head=head)
        assert price(unread, request) == found, "config.json and the names of tensors say as much"


def measured_layers(meters: Mapping[str, Meter]) -> dict[str, Amount]:
    """By layer, what all roles have measured."""
    rows = {role: meter.snapshot() for role, meter in meters.items()}
    layers = {row["layer"] for of_role in rows.values() for row in of_role}
    found = {}
    for layer in layers:
        ops = by_op(rows, layer).values()
        rounds, online, dealer = (int(sum(op[key] for op in ops)) for key in ("rounds", "online_bytes", "dealer_bytes"))
        found[layer] = Amount(rounds, online, dealer)
    return found


def without_products(amount: Amount) -> Amount:
    return Amount(amount.rounds, amount.online_bytes, amount.dealer_bytes)


def test_products_are_counted_once_for_each_factor_that_a_party_multiplies(tmp_path: Path) -> None:
    def of(weights: Any) -> Price:
        return price(manifest_of_folder(tmp_path, weights=weights), Request("hidden", 1, 7, masked=False))

    save_model(tmp_path, "bert", "none")
    tokens, width = 7, 24
    parameters = manifest_of_folder(tmp_path).parameters
    matrices = [spec.elements for name, spec in parameters.items() if re.match(r"layer\.0\..*weight", name)]
    of_weights, of_attention = tokens * sum(matrices), 2 * tokens * tokens * width
    assert of("public").layers["layer.0"].multiplications == of_weights + 2 * of_attention
    assert of("private").layers["layer.0"].multiplications == 2 * of_weights + 2 * of_attention
    assert of("server").layers["layer.0"].multiplications == of_weights + 2 * of_attention


def test_layers_of_one_shape_cost_the_same_and_add_up(tmp_path: Path) -> None:
    save_model(tmp_path, "bert", "none", num_hidden_layers=4)
    found = price(manifest_of_folder(tmp_path), Request("hidden", 1, 8, masked=False))
    assert found.layers["layer.1"] == found.layers["layer.2"], "the first and the last are beside something else"
    assert found.total.rounds == sum(amount.rounds for amount in found.layers.values())


def test_a_session_whose_dealer_was_done_before_it_costs_what_is_left(tmp_path: Path) -> None:
    save_model(tmp_path, "bert", "none")
    found = price(manifest_of_folder(tmp_path), Request("hidden", 1, 8, masked=False))
    online = found.of("online")
    assert found.of("all") == found
    assert online.total == replace(found.total, dealer_bytes=0) != found.total
    assert online.loading == found.loading
    three = price(manifest_of_folder(tmp_path, protocol="replicated"), Request("hidden", 1, 8, masked=False))
    assert three.of("online") == three


def test_a_configuration_alone_is_enough_and_no_weight_is_read(tmp_path: Path) -> None:
    save_model(tmp_path, "bert", "sequence")
    request = Request("logits", 1, 8, masked=False)
    due = price(manifest_of_folder(tmp_path), request)
    weights = tmp_path / "model.safetensors"
    header = 8 + int.from_bytes(weights.read_bytes()[:8], "little")
    # The file is as long as its header says, and holds nothing.
    os.truncate(weights, header)
    with weights.open("r+b") as file:
        file.truncate(header + sum_of_tensors(tmp_path / "model.safetensors"))
    assert price(manifest_of_folder(tmp_path), request) == due
    weights.unlink()
    assert price(manifest_of_folder(tmp_path), request) == due


def sum_of_tensors(path: Path) -> int:
    raw = path.read_bytes()
    header = json.loads(raw[8:])
    return max(tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__")


def test_what_is_not_served_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has no config\.json and no manifest\.json"):
        manifest_of_folder(tmp_path)
    save_model(tmp_path, "bert", "none")
    with pytest.raises(
        CheckpointError, match="weights='server' is for the protocol 'beaver' or 'hybrid', not 'replicated'"
    ):
        manifest_of_folder(tmp_path, weights="server", protocol="replicated")
    with pytest.raises(InputError, match="21"):
        price(manifest_of_folder(tmp_path), Request("hidden", 1, 21, masked=False))


def test_an_outline_computes_nothing() -> None:
    with pytest.raises(ProtocolError, match="has computed a product"):
        keep_nothing([], 64).product([], 64)
