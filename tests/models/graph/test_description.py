"""A description comes from outside: whatever is wrong with it is refused before anything runs."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from secure.models.checkpoint.conversion import Checkpoint
from secure.models.contract.manifest import Manifest, ParameterSpec
from secure.models.contract.request import Request
from secure.models.graph.capture import capture
from secure.models.graph.description import OPERATIONS, read_graph
from secure.models.program import load, network
from secure.protocols.cleartext.protocol import CleartextProtocol
from secure.protocols.core.errors import BoundError, CheckpointError, InputError
from secure.protocols.core.fixedpoint import FixedPointPolicy
from tests.models.graph.modules import EncoderBlock, Pictures, settled
from tests.models.runs import client_inputs

Change = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def pictures() -> Checkpoint:
    return capture(settled(Pictures()), torch.randn(1, 3, 15, 17))


@pytest.fixture(scope="module")
def block() -> Checkpoint:
    return capture(settled(EncoderBlock()), torch.randint(0, 17, (2, 4)))


def test_a_manifest_gives_the_same_graph_back(pictures: Checkpoint, block: Checkpoint) -> None:
    for checkpoint in (pictures, block):
        manifest = Manifest.from_json(checkpoint.manifest.to_json())
        assert manifest == checkpoint.manifest
        assert read_graph(manifest).to_dict() == checkpoint.manifest.config


def first(config: dict[str, Any], operation: str) -> dict[str, Any]:
    return next(node for node in config["nodes"] if node["operation"] == operation)


def setting(operation: str, name: str, value: object) -> Change:
    return lambda c: first(c, operation)["settings"].__setitem__(name, value)


def field(operation: str, name: str, value: object) -> Change:
    return lambda c: first(c, operation).__setitem__(name, value)


HUGE = 1 << 30
CHANGES: list[tuple[Change, str]] = [
    (field("linear", "operation", "os.system"), "no operation is called 'os.system'"),
    (field("linear", "operation", "__class__"), "no operation is called"),
    (field("linear", "operation", ["linear"]), "no operation is called"),
    (field("add", "values", [0, 9999]), "there is no value 9999 before it"),
    (field("add", "values", [0, -1]), "there is no value -1"),
    (field("add", "values", [0, True]), "there is no value True"),
    (field("add", "values", [0, 1.0]), "there is no value 1.0"),
    (field("add", "values", [0]), "add takes 2 values, not 1"),
    (field("add", "values", {"0": 1}), "a list of at most"),
    (lambda c: c["nodes"][0].__setitem__("values", [1]), r"node 0: there is no value 1 before it"),
    (lambda c: c["nodes"].reverse(), "node 0"),
    (field("linear", "shape", [1, 6]), r"linear gives shape \[1, 5\], the graph says \[1, 6\]"),
    (field("linear", "shape", None), "the graph says None"),
    (field("linear", "parameters", ["classify.weight", "nothing"]), "there is no parameter 'nothing'"),
    (field("linear", "parameters", ["classify.bias", "classify.weight"]), "is no factor"),
    (field("linear", "parameters", ["pointwise.weight", "classify.bias"]), "do not go with matrix"),
    (field("linear", "parameters", ["classify.weight"]), "takes 2 parameters"),
    (field("linear", "layer", "../../etc"), "is no name of letters"),
    (field("linear", "layer", "x" * 1000), "is no name of letters"),
    (field("linear", "layer", 7), "is no name of letters"),
    (field("linear", "settings", {"exec": "1"}), r"settings of LinearLayer must be \[\]"),
    (field("linear", "code", "1"), "fields operation, settings"),
    (setting("convolution", "padding", [HUGE, HUGE]), "kernel, stride, padding"),
    (setting("convolution", "padding", [60_000, 60_000]), "its windows has .* elements; at most"),
    (setting("convolution", "kernel", [99, 1]), r"windows of \[99, 1\] on an image"),
    (setting("convolution", "kernel", [0, 3]), "kernel, stride, padding"),
    (setting("convolution", "stride", [2]), "are pairs"),
    (setting("convolution", "stride", [2, -2]), "kernel, stride, padding"),
    (setting("convolution", "private", 1), "Convolution.private is '1', of a wrong type"),
    (setting("reshape", "to", [HUGE, HUGE]), "elements; at most"),
    (setting("reshape", "to", [3, -1]), "each length is positive"),
    (setting("reshape", "to", [2, 2]), "reshape: "),
    (setting("reshape", "to", [1] * 9), "wrong type or out of range"),
    (setting("reshape", "to", [1 << 70]), "wrong type or out of range"),
    (setting("mean", "dims", [7]), "no axis 7"),
    (setting("mean", "dims", [4, 4]), "each axis is named once"),
    (setting("add_number", "number", 1e9), "a number of 1e.09 in the graph"),
    (setting("add_number", "number", float("nan")), "wrong type or out of range"),
    (setting("add_number", "number", True), "wrong type or out of range"),
    (setting("function", "name", "__import__"), "no function is called '__import__'"),
    (setting("windows", "edge", "yes"), "wrong type"),
    (setting("windows", "after", [0, HUGE]), "kernel, stride, padding"),
    (setting("windows", "after", [0, -1]), "kernel, stride, padding"),
    (setting("adaptive_windows", "to", [0, 1]), "of them"),
    (setting("adaptive_windows", "to", [1 << 16, 1 << 10]), "of them"),
    (setting("adaptive_windows", "to", [2]), "of an image"),
    (setting("flip", "dims", [2, 2]), "each axis is named once"),
    (setting("flip", "dims", [4]), "no axis 4"),
    (lambda c: c["inputs"][0].__setitem__("shape", [1, 3, HUGE, HUGE]), "elements; at most"),
    (lambda c: c["inputs"][0].__setitem__("shape", [0, 3]), "each length is positive"),
    (lambda c: c["inputs"][0].__setitem__("name", "a/b"), "is no name of letters"),
    (lambda c: c["inputs"].append(dict(c["inputs"][0])), "not distinct"),
    (lambda c: c["inputs"].clear(), "there are none"),
    (lambda c: c["outputs"].append(10_000), "no value 10000"),
    (lambda c: c["outputs"].clear(), "0 outputs"),
    (lambda c: c.__setitem__("structure", "tensor"), "as many distinct keys|a tensor is one output"),
    (lambda c: c.__setitem__("structure", "object"), "structure is 'object'"),
    (lambda c: c.__setitem__("keys", ["same", "same"]), "as many distinct keys"),
    (lambda c: c.__setitem__("keys", [1, 2]), "keys are no strings"),
    (lambda c: c.__setitem__("code", "print()"), "fields inputs, embeddings"),
    (lambda c: c.__setitem__("nodes", c["nodes"] * 2000), "a list of at most 20000"),
    (lambda c: c.__setitem__("nodes", [None]), "fields operation"),
]


@pytest.mark.parametrize(("change", "message"), CHANGES)
def test_wrong_descriptions(change: Change, message: str, pictures: Checkpoint) -> None:
    config = copy.deepcopy(pictures.manifest.config)
    change(config)
    with pytest.raises(CheckpointError, match=message):
        network(replace(pictures.manifest, config=config))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("rows", HUGE, "a table has .* elements"),
        ("rows", 18, "parameter 'words.weight' has shape"),
        ("rows", 17.0, "a table has shape"),
        ("input", "pixels", "an input of indices is due"),
        ("table", "qkv.weight", "is no table"),
    ],
)
def test_wrong_embeddings(name: str, value: object, message: str, block: Checkpoint) -> None:
    config = copy.deepcopy(block.manifest.config)
    config["embeddings"][0][name] = value
    with pytest.raises(CheckpointError, match=message):
        network(replace(block.manifest, config=config))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (ParameterSpec((5,), "offset", 12), "is no offset of the policy's fraction bits"),
        (ParameterSpec((5,), "gain", 16), "is no offset"),
        (ParameterSpec((6,), "offset", 16), "do not go with"),
        (ParameterSpec((HUGE,), "offset", 16), "has 1073741824 elements"),
        (ParameterSpec((-5,), "offset", 16), "has no shape"),
    ],
)
def test_wrong_parameters(spec: ParameterSpec, message: str, pictures: Checkpoint) -> None:
    changed = {**pictures.manifest.parameters, "classify.bias": spec}
    with pytest.raises(CheckpointError, match=message):
        network(replace(pictures.manifest, parameters=changed))


def test_parameters_that_nothing_uses(pictures: Checkpoint) -> None:
    more = {**pictures.manifest.parameters, "more": ParameterSpec((1 << 40,), "factor", 16)}
    with pytest.raises(CheckpointError, match="parameter 'more' is not used"):
        network(replace(pictures.manifest, parameters=more))


def test_another_number_format(pictures: Checkpoint) -> None:
    with pytest.raises(CheckpointError, match="functions are made for"):
        network(replace(pictures.manifest, policy=FixedPointPolicy(fraction_bits=12, functions="puma")))


def test_roles_check_before_they_load(pictures: Checkpoint) -> None:
    config = copy.deepcopy(pictures.manifest.config)
    config["nodes"][0]["operation"] = "eval"
    manifest = replace(pictures.manifest, config=config)
    with pytest.raises(CheckpointError, match="no operation is called 'eval'"):
        load(CleartextProtocol(manifest.policy), manifest, pictures.tensors)


def test_every_operation_is_plain_data() -> None:
    """Nothing in a description is looked up but in this table."""
    assert len(set(OPERATIONS.values())) == len(OPERATIONS)
    for name, kind in OPERATIONS.items():
        with pytest.raises(CheckpointError):
            kind.from_settings({"no such setting": 1})
        assert name.islower()


def test_requests_and_inputs(pictures: Checkpoint, block: Checkpoint) -> None:
    net, image = network(pictures.manifest), torch.zeros(1, 3, 15, 17)
    request = net.request("hidden", {"image": image})
    net.validate(request)
    for wrong in (Request("hidden", 2, 1, False), Request("logits", 1, 1, False), Request("hidden", 1, 1, False, 2)):
        with pytest.raises(InputError, match="serves the request"):
            net.validate(wrong)
    for inputs, message in (
        ({}, "due are image"),
        ({"image": image, "more": image}, "due are image"),
        ({"image": [1.0]}, "must be a torch tensor, not list"),
        ({"image": image[:, :2]}, r"has shape \[1, 2, 15, 17\]; the module was captured with \[1, 3, 15, 17\]"),
        ({"image": image.to(torch.int64)}, "must hold real numbers, not torch.int64"),
        ({"image": image > 0}, "must hold real numbers, not torch.bool"),
        ({"image": image + float("nan")}, "NaN or infinite"),
        ({"image": image + 9000}, "magnitude"),
    ):
        with pytest.raises((InputError, BoundError), match=message):
            client_inputs(net, request, inputs)
    net = network(block.manifest)
    for ids, message in (
        (torch.full((2, 4), 17), "outside 0 to 16"),
        (torch.full((2, 4), -1), "outside 0 to 16"),
        (torch.zeros(2, 4), "must hold integers"),
    ):
        with pytest.raises(InputError, match=message):
            client_inputs(net, net.request("hidden", {"ids": ids}), {"ids": ids})


def test_parties_do_not_import_the_capture() -> None:
    """What a party runs on a description has no way to code."""
    script = (
        "import sys, json, secure.parties.process.model_engine as _; import secure.models.graph.network;"
        "print(json.dumps([name for name in sys.modules if name.startswith(('secure.models.graph', 'transformers'))]))"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    modules = json.loads(found.stdout.splitlines()[-1])
    assert "secure.models.graph.network" in modules
    assert not {
        "secure.models.graph.capture",
        "secure.models.graph.tracer",
        "secure.models.graph.operators",
        "transformers",
    } & set(modules)
