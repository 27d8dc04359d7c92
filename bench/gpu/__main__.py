"""python -m bench.gpu: everything that is measured on a card, written as JSON. See bench/on_gpu.sh."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from bench import results
from bench.gpu import equality, machine, products
from bench.gpu.model import Setting, measure_model
from secure.protocols.core import factor
from secure.protocols.core.kernels.dispatch import form_for
from secure.protocols.core.transfer import CPU

KEPT = results.FOLDER
TRIED = results.FOLDER.with_name("out")  # of trials, which are no results: not kept in the repository
SMALL = Setting(layers=1, tokens=16, vocabulary=1000)
NOTES = {
    "all_roles_on_one_device": True,
    "roles": "p0, p1 and the dealer are three threads of one Python process, each with a stream of its own",
    "network": "none: messages pass through queues in the host's memory, as they would on their way to a network",
    "crossing": "openings and corrections at the width of the wire, the client's tensors, inputs and results of small "
    "gates, which run on the host; without Triton masks, too",
    "seconds": "from the client's tensors to its result, the dealer's work included; the model was loaded before",
}


def main() -> int:
    """Returns 0 when everything ran and every comparison was equal."""
    arguments = _arguments()
    device = torch.device(arguments.device)
    if device.type == "cuda":
        if not torch.cuda.is_available():
            print("this PyTorch sees no CUDA card; DEVICE=cpu tries the script without one", file=sys.stderr)
            return 2
        device = torch.device("cuda", torch.cuda.current_device())
    started = time.perf_counter()
    command = " ".join(["python -m bench.gpu", *sys.argv[1:]])
    record: dict[str, Any] = {
        "schema": results.SCHEMA,
        "kind": "gpu",
        **machine.environment(command, device),
        "notes": NOTES,
    }
    _say(f"{record['device']}, torch {record['versions']['torch']}, CUDA {record['versions']['cuda']}")
    record["degraded"] = _degraded(device)
    for line in record["degraded"]:
        _say(line)
    quick = arguments.quick
    folder = arguments.out or (TRIED if quick or device.type == "cpu" else KEPT)
    sized = SMALL if quick else Setting(layers=arguments.layers)
    steps: list[tuple[str, Callable[[], Any]]] = [
        ("bit_equality", lambda: _equality(device)),
        ("products", lambda: products.measure_products(products.SMALL_SHAPES if quick else products.SHAPES, device)),
        ("stages", lambda: products.stages(products.SHAPES[0], device)),
        ("model", lambda: measure_model(sized, device, arguments.repeats)),
    ]
    if device.type == "cuda":
        one = replace(sized, layers=1)
        steps.append(("one_layer", lambda: measure_model(one, device, arguments.repeats)))
        steps.append(("one_layer_on_cpu", lambda: measure_model(one, torch.device("cpu"), 1)))
    failed = {}
    for name, step in steps:
        begun = time.perf_counter()
        try:
            record[name] = step()
        except Exception as error:  # what was measured before it is still worth keeping
            failed[name] = f"{type(error).__name__}: {error}"
            _say(f"{name} failed: {failed[name]}")
        _say(f"{name}: {time.perf_counter() - begun:.1f} s")
        record["failed"] = failed
        record["figures"] = figures(record)
        _write(record, folder)
    record["total_seconds"] = time.perf_counter() - started
    path = _write(record, folder)
    for key, value in record["figures"].items():
        _say(f"{key}: {value}")
    _say(f"written to {path}, after {record['total_seconds']:.0f} s")
    equal = all(row["equal"] for row in record.get("bit_equality", {}).get("programs", [{"equal": False}]))
    exact = all(row["exact"] for row in record.get("products", [{"exact": False}]))
    return 0 if equal and exact and not failed else 1


def _equality(device: torch.device) -> dict[str, Any]:
    """Every program on the CPU and on the device."""
    rows: list[dict[str, Any]] = []
    seen: set[str] = set()
    for name, run in equality.cases():
        found = equality.compare(name, run, device)
        seen |= found.gates
        rows.append(
            {"program": name, "equal": found.equal, "bytes_compared": found.bytes, "gates": sorted(found.gates)}
        )
        _say(f"  {name}: {'the same' if found.equal else 'DIFFERENT'}, {found.bytes:,} bytes of messages")
    return {"programs": rows, "gates_not_run": sorted(equality.every_gate() - seen)}


def _degraded(device: torch.device) -> list[str]:
    """What this machine lacks, and what is done instead."""
    found = []
    if device.type == "cuda" and (reason := products.bytes_fail(device)):
        factor.multiplies_bytes = lambda where: False  # type: ignore[assignment]
        found.append(f"products of bytes fail on this card ({reason}): linear layers go by float64 limbs")
    if device.type == "cuda" and form_for(device) != "card":
        found.append("Triton cannot be used: local steps of gates are many small kernels of torch")
    if form_for(CPU) != "cpu":
        found.append("numba is missing: figures of the CPU are those of plain torch")
    if not factor.multiplies_bytes(CPU):
        found.append("no AMX: the CPU multiplies words, not bytes")
    return found


def figures(record: dict[str, Any]) -> dict[str, Any]:
    """The few numbers for a table, flat or nested by name."""
    found: dict[str, Any] = {}
    if "bit_equality" in record:
        rows = record["bit_equality"]["programs"]
        found["programs bit-identical to the CPU"] = f"{sum(row['equal'] for row in rows)} of {len(rows)}"
    for row in record.get("products", []):
        name = "×".join(map(str, row["shape"]))
        found.setdefault("ring product, ms", {})[f"{name}, {row['method']}"] = round(row["milliseconds"], 3)
    for key, title in (("model", "BERT"), ("one_layer", "the same"), ("one_layer_on_cpu", "the same on the CPU")):
        if key in record:
            model, setting = record[key], record[key]["setting"]
            size = f"{setting['layers']} layers of width {setting['hidden']}, {setting['tokens']} tokens"
            found[f"{title}, {size}"] = {
                "seconds": round(model["median_seconds"], 3),
                "load seconds": round(model["load_seconds"], 2),
                "rounds": model["rounds"],
                "online MB": round(model["online_bytes"] / 1e6, 1),
                "dealer MB": round(model["dealer_bytes"] / 1e6, 1),
                "largest error": float(f"{model['max_error']:.2g}"),
            } | _of_card(model)
    return found


def _of_card(model: dict[str, Any]) -> dict[str, Any]:
    if model["peak_card_bytes"] is None:
        return {}
    crossed = {way: sum(role[way] for role in model["crossing_bytes"].values()) for way in ("to_card", "to_host")}
    return {
        "peak card GB": round(model["peak_card_bytes"] / 1e9, 2),
        "MB to the card": round(crossed["to_card"] / 1e6, 1),
        "MB to the host": round(crossed["to_host"] / 1e6, 1),
    }


def _write(record: dict[str, Any], folder: Path) -> Path:
    name = "".join(c if c.isalnum() else "-" for c in str(record["device"]).lower()).strip("-")
    path = folder / f"gpu-{name}.json"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return path


def _say(line: str) -> None:
    print(line, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=__doc__)
    parser.add_argument("--device", default="cuda", help="cuda, or cpu to try the script")
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=3, help="predictions after the warm-up")
    parser.add_argument("--quick", action="store_true", help="small sizes: shows that everything runs")
    parser.add_argument("--out", type=Path, default=None, help="folder to write to; default bench/results")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
