"""What a request is estimated to take, against what it takes, and without taking it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers
from torch import nn
from transformers import BertModel

from secure.models.checkpoint.conversion import read_checkpoint, write_split
from secure.models.contract.exchange import input_payloads
from secure.models.contract.manifest import Manifest
from secure.models.contract.request import Request
from secure.models.families.bert import BertConfig, parameters
from secure.models.graph.capture import capture
from secure.models.program import network
from secure.models.storage import working_set
from secure.models.storage.working_set import WorkingSets
from secure.parties.client.client import Client, Prediction
from secure.parties.launcher import launch
from secure.protocols.core.fixedpoint import FixedPointPolicy
from secure.protocols.families import FAMILIES
from tests.checkout import ROOT
from tests.models.decoders import save_decoder

POLICY = FixedPointPolicy()
BASE = BertConfig(30522, 768, 12, 12, 3072, 512, 2, 1e-12)
TABLE = BertConfig(30522, 64, 1, 2, 64, 512, 2, 1e-12)
SCORES = BertConfig(100, 64, 1, 4, 128, 512, 2, 1e-12)
WIDE = BertConfig(100, 64, 1, 2, 2048, 512, 2, 1e-12)


def bert(config: BertConfig) -> Manifest:
    sizes = parameters(config, POLICY.fraction_bits, public=False)
    return Manifest("bert", config.to_dict(), POLICY, "private", sizes)


def test_the_largest_request_is_estimated_without_being_allocated() -> None:
    """Its table of positions alone has 512 GB of words at a party that is sent 16 bytes for it."""
    request = Request("hidden", 4096, 512, False)
    assert WorkingSets().bytes(network(bert(replace(BASE, num_hidden_layers=1))), request) > 512e9


@pytest.mark.parametrize("config", [TABLE, SCORES, WIDE])
def test_an_estimate_grows_with_the_request(config: BertConfig) -> None:
    net = network(bert(config))
    sizes = [WorkingSets().bytes(net, Request("hidden", *shape, True)) for shape in ((1, 8), (2, 8), (2, 64), (8, 64))]
    assert sizes == sorted(set(sizes))
    assert sizes[1] == 2 * sizes[0]


@pytest.mark.parametrize("config", [TABLE, SCORES])
@pytest.mark.parametrize("tokens", [1, 3, 96, 130, 383, 511])
def test_an_estimate_between_two_lengths_is_none_too_small(
    config: BertConfig, tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, request = network(bert(config)), Request("hidden", 3, tokens, True)
    between = WorkingSets().bytes(net, request)
    monkeypatch.setattr(working_set, "_takes", lambda *arguments: False)
    exact = WorkingSets().bytes(net, request)
    assert exact <= between <= 1.15 * exact


def test_few_lengths_are_estimated_by_running_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in generation, where each prompt has a length of its own."""
    seen: list[int] = []
    real = working_set._sizes
    monkeypatch.setattr(working_set, "_sizes", lambda net, request: seen.append(request.tokens) or real(net, request))
    net, sets = network(bert(SCORES)), WorkingSets()
    found = [sets.bytes(net, Request("hidden", 1, tokens, True)) for tokens in range(1, 513)]
    assert sorted(seen) == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]
    assert found == sorted(found)


def test_an_estimate_imports_no_compiler(tmp_path: Path) -> None:
    """It would take seconds and memory of every party, before its first answer."""
    decoders = {}
    for family, window in (("llama", {}), ("mistral", {"sliding_window": 4})):
        save_decoder(tmp_path / family, family, **window)
        decoders[family] = write_split(read_checkpoint(tmp_path / family), tmp_path / f"{family} split")
    module = nn.Sequential(nn.Linear(5, 4), nn.GELU(), nn.LayerNorm(4), nn.Softmax(-1)).eval()
    manifests = {"bert": bert(SCORES), **decoders, "graph": capture(module, torch.randn(3, 5)).manifest}
    files = [tmp_path / f"{name}.json" for name in manifests]
    for path, manifest in zip(files, manifests.values(), strict=True):
        path.write_text(manifest.to_json(), encoding="utf-8")
    command = [sys.executable, "-P", "-m", "tests.models.storage.estimates_alone", *map(str, files)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    assert {name.split(".")[0] for name in json.loads(done.stdout)} & {"sympy", "mpmath", "triton"} == set()
    assert "torch._dynamo" not in json.loads(done.stdout)


def resident_bytes(process: int, field: str) -> int:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


@pytest.mark.slow
@pytest.mark.parametrize("protocol", [name for name, family in FAMILIES.items() if family.serves_all])
def test_no_role_takes_more_than_was_estimated(protocol: str, tmp_path: Path) -> None:
    """Peaks of processes, over what each held before the session."""
    with launch(protocol=protocol) as launcher, Client(launcher.settings) as client:
        for config, shape in ((TABLE, (4, 128)), (SCORES, (4, 256)), (WIDE, (4, 128))):
            folder = tmp_path / f"{config.hidden_size} {config.vocab_size} {config.intermediate_size}"
            save_bert(folder / "model", config)
            manifest = write_split(read_checkpoint(folder / "model"), folder / "split", protocol=protocol)
            files = {role: folder / "split" / f"{role}.safetensors" for role in FAMILIES[protocol].computing}
            client.load_model(manifest, files)
            predict(client, manifest, (1, 4))
            before = {}
            for role, process in launcher.process_ids.items():
                Path(f"/proc/{process}/clear_refs").write_text("5")  # the peak begins anew
                before[role] = resident_bytes(process, "VmRSS")
            reports = predict(client, manifest, shape).costs.reports
            for role, process in launcher.process_ids.items():
                assert resident_bytes(process, "VmHWM") - before[role] < reports[role].memory_bytes, role
            client.unload_model(manifest.digest)


def predict(client: Client, manifest: Manifest, shape: tuple[int, int]) -> Prediction:
    net, ids = network(manifest), torch.zeros(shape, dtype=torch.int64)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    request = net.request("hidden", inputs)
    return client.predict(manifest.digest, manifest.policy.digest(), request, input_payloads(net, request, inputs, {}))


def save_bert(folder: Path, config: BertConfig) -> None:
    names = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    sizes = {name: getattr(config, name) for name in names}
    BertModel(transformers.BertConfig(**sizes, max_position_embeddings=512)).save_pretrained(folder)
