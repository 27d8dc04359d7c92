"""The shapes of the paper's two networks, with random weights: seconds follow from shapes alone.

MPCViT (Zeng et al., ICCV 2023) measured its networks in SPU's two-party protocol on other machines, where nobody deals:
its seconds stand beside ours for scale, and compare neither machines nor protocols.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import ViTConfig, ViTForImageClassification

from bench.latency.plans import BUSY, predictor_record
from bench.latency.runs import Measured
from bench.mpcvit.campaign import write
from bench.mpcvit.plans import AFFINE_NORMS, baseline
from bench.mpcvit.seconds import PROTOCOLS, predicted
from secure.costs import cost
from secure.models.checkpoint.folder import CONFIG_NAME
from secure.models.checkpoint.shapes import manifest_of_config
from secure.models.contract.request import Request
from secure.models.families.planned.mpc_vit import MPC_VIT
from secure.models.latency import NETWORKS
from secure.models.price import Amount, price
from secure.search import AttentionPlan
from secure.search.teacher import read_teacher

SHAPES: Mapping[str, dict[str, int]] = {
    "cifar": {"image_size": 32, "num_labels": 10, "hidden_size": 256, "num_hidden_layers": 7, "num_attention_heads": 4},
    "tiny": {
        "image_size": 64,
        "num_labels": 200,
        "hidden_size": 192,
        "num_hidden_layers": 9,
        "num_attention_heads": 12,
    },
}
"""Patches of 4 x 4 pixels make 65 and 257 tokens; feed-forward layers are twice as wide as the rest."""
PLANS = ("softmax", "bounded", "2quad", "scale", "scale-linear", AFFINE_NORMS)
PAPER: Mapping[str, Mapping[str, float]] = {
    "cifar": {"softmax": 112.23, "relu": 71.82, "2quad": 66.98, "scale": 44.63, "MPCViT": 48.03, "MPCViT+": 39.0},
    "tiny": {"softmax": 1370.61, "relu": 1128.39, "2quad": 903.57, "scale": 121.57, "MPCViT": 220.69, "MPCViT+": 203.7},
}
"""Seconds of the paper's own figures, as its authors' repository has them; 2quad is its MPCFormer, MPCViT that of the
lowest latency."""
KIND = "mpcvit-shapes"
_PATCH = 4
_SEED = 3


def config_of(shape: str) -> ViTConfig:
    """The network's, with softmax everywhere."""
    sizes = SHAPES[shape]
    return ViTConfig(**sizes, patch_size=_PATCH, intermediate_size=2 * sizes["hidden_size"])


def raw_of(shape: str, name: str) -> dict[str, Any]:
    """config.json of one of `PLANS`."""
    raw = config_of(shape).to_dict() | {"architectures": ["ViTForImageClassification"]}
    return raw | baseline(name, AttentionPlan.of(MPC_VIT.parse(raw))).fields


def checkpoints(shape: str, folder: Path) -> dict[str, Path]:
    """A checkpoint of random weights for each of `PLANS`."""
    config, found = config_of(shape), {}
    first = AttentionPlan.of(MPC_VIT.parse(config.to_dict() | {"architectures": ["ViTForImageClassification"]}))
    for name in PLANS:
        found[name] = folder / f"{shape}-{name}"
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_SEED)
            ViTForImageClassification(config).save_pretrained(found[name])
        path = found[name] / CONFIG_NAME
        raw = read_teacher(found[name]).raw
        write(path, raw | baseline(name, first).fields)
    return found


def image(shape: str) -> Tensor:
    """A random one. Shapes: -> [3, S, S]."""
    side = SHAPES[shape]["image_size"]
    return torch.randn(3, side, side, generator=torch.Generator().manual_seed(_SEED))


def tokens(shape: str) -> int:
    """Patches and the class token."""
    return (SHAPES[shape]["image_size"] // _PATCH) ** 2 + 1


def record(made: Mapping[str, Mapping[str, Path]], kept: Path) -> dict[str, Any]:
    """What bench/results has: every shape's plans, what they cost by each protocol, and the seconds that are in `kept`.

    made: checkpoints by shape and plan. kept: the folder of what was measured, SHAPE-PROTOCOL-NETWORK.json each.
    """
    found = {
        "kind": KIND,
        "weights": "random",
        "shapes": {
            shape: {
                "tokens": tokens(shape),
                "setting": SHAPES[shape],
                "paper_seconds": PAPER[shape],
                "protocols": {protocol: _protocol(shape, plans, protocol, kept) for protocol in PROTOCOLS},
            }
            for shape, plans in made.items()
        },
    }
    for (shape, protocol, network), told in predictor(found).items():
        found["shapes"][shape]["protocols"][protocol]["measured"][network]["predictor"] = told
    return found


def predictor(record: Mapping[str, Any]) -> dict[tuple[str, str, str], Mapping[str, Any]]:
    """How well seconds are told, by shape, protocol and network, where enough plans were measured."""
    found = {}
    for where in itertools.product(record["shapes"], PROTOCOLS, NETWORKS):
        shape, protocol, network = where
        measured = record["shapes"][shape]["protocols"][protocol]["measured"].get(network, {})
        told = predictor_record(runs_of(record, *where), measured.get("kernels"))
        if told is not None:
            found[where] = told
    return found


def runs_of(record: Mapping[str, Any], shape: str, protocol: str, network: str) -> list[Measured]:
    """What a record has measured of a shape's plans; none where it was not measured.

    Rounds and bytes are the record's, as gates may have changed since; multiplications follow from shapes.
    """
    found = record["shapes"][shape]["protocols"][protocol]
    measured, counted = found["measured"].get(network, {"plans": {}}), found["plans"]
    runs = []
    for name, plan in measured["plans"].items():
        manifest = manifest_of_config(raw_of(shape, name), protocol=protocol)
        now = price(manifest, Request("logits", 1, tokens(shape) - 1, masked=False))
        figures = (counted[name][figure] for figure in ("rounds", "online_bytes", "dealer_bytes"))
        layers = {"all": Amount(*figures, now.total.multiplications)}
        seconds = plan["median_seconds"]
        runs.append(Measured(f"{shape} {protocol} {network} {name}", replace(now, layers=layers), network, seconds))
    return runs


def is_quiet(record: Mapping[str, Any], shape: str, protocol: str, network: str) -> bool:
    """Whether the machine had nothing else to do when a shape's plans were measured."""
    found = record["shapes"][shape]["protocols"][protocol]["measured"].get(network)
    return found is not None and found["load_average"][0] <= BUSY


def _protocol(shape: str, plans: Mapping[str, Path], protocol: str, kept: Path) -> dict[str, Any]:
    """Each plan's price, and what was measured of all, by network."""
    priced = {}
    for name, folder in plans.items():
        priced[name] = {"plan": str(read_teacher(folder).plan), **predicted(cost(folder, protocol=protocol).price)}
    files = {network: kept / f"{shape}-{protocol}-{network}.json" for network in NETWORKS}
    measured = {name: json.loads(path.read_text(encoding="utf-8")) for name, path in files.items() if path.is_file()}
    return {"plans": priced, "measured": measured}
