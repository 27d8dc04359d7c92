"""SPU, ABY3, as PUMA runs it. Runs in SPU's environment: python -m bench.peers.spu_runner WORKLOAD memory|processes."""

from __future__ import annotations

import math
import multiprocessing
import queue
import re
import sys
import tempfile
import threading
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from spu import api, libspu
from spu.utils import frontend

from bench.peers import lines, puma
from bench.peers.ports import free_ports
from bench.peers.workload_file import NAMES, Arrays, Workload, load

PARTIES = 3
FRACTION_BITS = 18
# What PUMA's own benchmark switches on; the profile is where SPU tells the bytes that it sent. Parallel work within an
# op is left out between processes: there SPU 0.9.5 was seen to stop for good in two runs of seven on two cores, and it
# was no faster (7.5 s for a layer of BERT-base, 7.1 s without). Over the link in memory it gains some percent.
_RUNTIME = {"experimental_disable_mmul_split": True, "enable_pphlo_profile": True}
RUNTIME = {"memory": _RUNTIME | {"experimental_enable_intra_op_par": True}, "processes": _RUNTIME}
COMPILER = {"enable_optimize_denominator_with_broadcast": True}
# As SPU's own distributed driver sets them; its default of a 30 s timeout is too short for a large model.
LINK = {"recv_timeout_ms": 600_000, "http_max_payload_size": 32 * 2**20}
_TRAFFIC = re.compile(r"Link details: total send bytes (\d+), recv bytes \d+, send actions (\d+)")


def encoder(hidden: Any, layers: list[list[Any]], *, heads: int, epsilon: float) -> Any:
    """BERT's layers after the embeddings, in plain JAX. Shapes: [B, T, D] -> same."""
    for values in layers:
        p = dict(zip(NAMES, values, strict=True))
        attended = attention(hidden @ p["qkv.weight"] + p["qkv.bias"], heads) @ p["output.weight"] + p["output.bias"]
        hidden = normalised(hidden + attended, p, "attention_norm", epsilon)
        inner = puma.gelu(hidden @ p["up.weight"] + p["up.bias"])
        hidden = normalised(hidden + inner @ p["down.weight"] + p["down.bias"], p, "feedforward_norm", epsilon)
    return hidden


def attention(qkv: Any, heads: int) -> Any:
    """Shapes: [B, T, 3D] -> [B, T, D]."""
    batch, tokens, triple = qkv.shape
    split = qkv.reshape(batch, tokens, 3, heads, triple // 3 // heads).transpose(2, 0, 3, 1, 4)
    query, key, value = split[0], split[1], split[2]
    scores = (query * (1 / math.sqrt(query.shape[-1]))) @ key.swapaxes(-1, -2)
    mixed = puma.softmax(scores, jnp) @ value
    return mixed.transpose(0, 2, 1, 3).reshape(batch, tokens, triple // 3)


def normalised(x: Any, p: dict[str, Any], name: str, epsilon: float) -> Any:
    """One of a layer's two norms."""
    return puma.layer_norm(x, p[f"{name}.weight"], p[f"{name}.bias"], epsilon, jnp, jax.lax.rsqrt)


def runtime_config(link: str) -> Any:
    """The same at every party."""
    config = libspu.RuntimeConfig(
        protocol=libspu.ProtocolKind.ABY3, field=libspu.FieldType.FM64, fxp_fraction_bits=FRACTION_BITS
    )
    for name, value in RUNTIME[link].items():
        setattr(config, name, value)
    return config


def party(rank: int, hosts: list[str] | None, log: str, inbox: Any, outbox: Any) -> None:
    """A thread (no hosts: the link is in memory) or a process. Takes values by name, and the name of the output."""
    if hosts is not None:
        log_to(log)
    desc = libspu.link.Desc()
    for name, value in LINK.items():
        setattr(desc, name, value)
    for peer in range(PARTIES):
        desc.add_party(f"party{peer}", hosts[peer] if hosts else f"thread{peer}")
    try:
        connect = libspu.link.create_brpc if hosts else libspu.link.create_mem
        runtime = api.Runtime(connect(desc, rank), runtime_config("processes" if hosts else "memory"))
        executable = libspu.Executable()
        while (item := inbox.get()) is not None:
            name, value = item
            if name == "executable":
                executable.ParseFromString(value)
            elif name == "run":
                runtime.run(executable)
                outbox.put((rank, runtime.get_var("output"), lines.peak_memory_bytes()))
            else:
                runtime.set_var(name, value)
    except Exception as error:
        outbox.put((rank, f"{type(error).__name__}: {error}", 0))


def log_to(path: str) -> None:
    """SPU's log of this process goes into a file, and nowhere else."""
    options = libspu.logging.LogOptions()
    options.enable_console_logger = False
    options.system_log_path = path
    libspu.logging.setup_logging(options)


class Cluster:
    """Three parties that hold the weights' shares."""

    def __init__(self, workload: Workload, link: str, folder: Path) -> None:
        self._link = link
        self._io = api.Io(PARTIES, runtime_config(link))
        processes = link == "processes"
        context = multiprocessing.get_context("spawn")
        # Bounded: shares of a whole model must not queue up beside those that the parties hold.
        make_queue = context.Queue if processes else queue.Queue
        self._inboxes = [make_queue(2) for _ in range(PARTIES)]
        self._outbox = make_queue()
        hosts = [f"127.0.0.1:{port}" for port in free_ports(PARTIES)] if processes else None
        self._logs = [folder / f"party{rank}.log" for rank in range(PARTIES)] if processes else [folder / "spu.log"]
        if not processes:
            log_to(str(self._logs[0]))
        start = context.Process if processes else threading.Thread
        logs = [str(log) for log in self._logs] * (1 if processes else PARTIES)
        self._parties = [
            start(target=party, args=(rank, hosts, logs[rank], self._inboxes[rank], self._outbox), daemon=True)
            for rank in range(PARTIES)
        ]
        for worker in self._parties:
            worker.start()
        executable = compiled(workload).SerializeToString()
        self._send([("executable", executable)] * PARTIES)
        for i, layer in enumerate(workload.layers):
            self._share_layer(i, layer)

    def _share_layer(self, index: int, layer: Arrays) -> None:
        for name in NAMES:
            self._share(f"layer.{index}.{name}", layer.pop(name))

    def _share(self, name: str, values: np.ndarray[Any, np.dtype[np.float32]]) -> None:
        shares = self._io.make_shares(np.ascontiguousarray(values), libspu.Visibility.VIS_SECRET)
        self._send([(name, share) for share in shares])

    def _send(self, items: list[Any]) -> None:
        for inbox, item in zip(self._inboxes, items, strict=True):
            while True:
                try:
                    inbox.put(item, timeout=1)
                    break
                except queue.Full:
                    self._check()

    def run(self, hidden: np.ndarray[Any, np.dtype[np.float32]], output: str) -> lines.Answer:
        """Share the input, compute, put the output together; what that took."""
        read = [log.stat().st_size if log.exists() else 0 for log in self._logs]
        started = time.perf_counter()
        self._share("hidden", hidden)
        self._send([("run", None)] * PARTIES)
        results = sorted((self._result() for _ in range(PARTIES)), key=lambda result: result[0])
        value = self._io.reconstruct([result[1] for result in results])
        seconds = time.perf_counter() - started
        np.save(output, value, allow_pickle=False)
        sent, messages = self._traffic(read)
        peaks = {f"party {rank}": peak for rank, _, peak in results}
        return {
            "seconds": seconds,
            "bytes_sent_per_party": sum(sent) / PARTIES,
            "messages": max(messages),
            "peak_memory_bytes": peaks if self._link == "processes" else {"three parties": max(peaks.values())},
        }

    def _result(self) -> Any:
        while True:
            try:
                result = self._outbox.get(timeout=1)
            except queue.Empty:
                self._check()
            else:
                if isinstance(result[1], str):
                    raise RuntimeError(f"party {result[0]}: {result[1]}")
                return result

    def _check(self) -> None:
        """A party that waits is busy, unless it has said that it failed, or is gone."""
        if not self._outbox.empty():
            self._result()
        gone = [rank for rank, worker in enumerate(self._parties) if not worker.is_alive()]
        if gone:
            raise RuntimeError(f"party {gone[0]} ended")

    def _traffic(self, read: list[int]) -> tuple[list[int], list[int]]:
        found = []
        for log, start in zip(self._logs, read, strict=True):
            with log.open(encoding="utf-8") as file:
                file.seek(start)
                found += _TRAFFIC.findall(file.read())
        return [int(sent) for sent, _ in found], [int(messages) for _, messages in found]


def compiled(workload: Workload) -> Any:
    """The whole encoder as one SPU program; its inputs are all secret."""
    hidden = jax.ShapeDtypeStruct(workload.hidden.shape, jnp.float32)
    layers = [[jax.ShapeDtypeStruct(layer[name].shape, jnp.float32) for name in NAMES] for layer in workload.layers]
    names = ["hidden", *(f"layer.{i}.{name}" for i in range(len(layers)) for name in NAMES)]

    def bert(hidden: Any, layers: list[list[Any]]) -> Any:
        return encoder(hidden, layers, heads=workload.heads, epsilon=workload.epsilon)

    executable, _ = frontend.compile(
        frontend.Kind.JAX,
        bert,
        (hidden, layers),
        {},
        names,
        [libspu.Visibility.VIS_SECRET] * len(names),
        lambda _: ["output"],
        copts=libspu.CompilerOptions(**COMPILER),
    )
    return executable


def main() -> int:
    """Serve the line protocol."""
    path, link = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:

        def prepare() -> tuple[lines.Answer, lines.Run]:
            workload = load(Path(path))
            started = time.perf_counter()
            cluster = Cluster(workload, link, Path(folder))
            description = {
                "prepare_seconds": time.perf_counter() - started,
                "versions": {"python": sys.version.split()[0]} | {n: version(n) for n in ("spu", "jax", "numpy")},
                "configuration": {
                    "protocol": "ABY3, three parties, ring of 64 bits",
                    "fraction_bits": FRACTION_BITS,
                    "link": link,
                    "gelu": "PUMA, four pieces",
                    "softmax": "PUMA, exp as (1 + x/32)^32 above -14",
                    "layer_norm": "rsqrt",
                    **RUNTIME[link],
                    **COMPILER,
                    **(LINK if link == "processes" else {}),
                },
            }
            return description, lambda command: cluster.run(workload.hidden, command["output"])

        return lines.serve(prepare)


if __name__ == "__main__":
    sys.exit(main())
