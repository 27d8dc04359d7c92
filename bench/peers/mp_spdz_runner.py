"""MP-SPDZ, four parties of which one may deviate: python -m bench.peers.mp_spdz_runner WORKLOAD FOLDER.

FOLDER: a checkout of MP-SPDZ in which rep4-ring-party.x is built. Its compiler runs in our own environment.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import IO

import numpy as np

from bench.peers import lines, mp_spdz_program
from bench.peers.environments import MP_SPDZ_BINARY
from bench.peers.ports import free_ports
from bench.peers.workload_file import load

PARTIES = 4
FRACTION_BITS = 16
_NAME = "secure_inference_encoder"
_LAST_WORDS = 400
_TIMED = re.compile(
    rf"^Time{mp_spdz_program.TIMER} = ([\d.e+-]+) seconds \(([\d.e+-]+) MB, (\d+) rounds\)", re.MULTILINE
)


class Cluster:
    """A compiled program. Each run starts its four processes, which share weights and input before the clock starts."""

    def __init__(self, workload: Path, folder: Path) -> None:
        self._folder = folder
        self._shape = load(workload).hidden.shape
        if not (folder / "Player-Data" / f"P{PARTIES - 1}.pem").exists():
            self._call(["Scripts/setup-ssl.sh", str(PARTIES)])
        root = Path(__file__).parent.parent.parent
        self._call(
            [sys.executable, "-m", "bench.peers.mp_spdz_program", str(workload), _NAME],
            {"PYTHONPATH": os.pathsep.join((str(folder), str(root)))},
        )

    def run(self, output: str) -> lines.Answer:
        """One prediction's figures, of the four parties' own timers and counters."""
        result = self._folder / "Player-Data" / "Binary-Output-P0-0"
        result.unlink(missing_ok=True)
        # The first of as many consecutive ports: party i listens on the one after it by i.
        port = str(free_ports(PARTIES)[0])
        command = [f"./{MP_SPDZ_BINARY}", "-pn", port, "-h", "localhost", _NAME, "-p"]
        logs = [(self._folder / f"{_NAME}-{role}.log").open("w+", encoding="utf-8") for role in range(PARTIES)]
        parties = [
            subprocess.Popen([*command, str(role)], cwd=self._folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            for role, log in enumerate(logs)
        ]
        peaks = {}
        for role, process in enumerate(parties):
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            peaks[f"party {role}"] = used.ru_maxrss * 1024
            if process.returncode:
                for other in parties[role + 1 :]:
                    other.kill()
                raise RuntimeError(f"party {role} ended with {process.returncode}: {_text(logs[role])[-_LAST_WORDS:]}")
        found = [timed(_text(log)) for log in logs]
        values = np.fromfile(result, dtype=np.int64)
        np.save(output, (values / 2.0**FRACTION_BITS).reshape(self._shape), allow_pickle=False)
        return {
            "seconds": max(seconds for seconds, _, _ in found),
            "bytes_sent_per_party": sum(sent for _, sent, _ in found) / PARTIES,
            "rounds": max(rounds for _, _, rounds in found),
            "peak_memory_bytes": peaks,
        }

    def commit(self) -> str:
        """The checkout's commit."""
        return subprocess.check_output(["git", "-C", str(self._folder), "rev-parse", "HEAD"], text=True).strip()

    def _call(self, command: list[str], environment: dict[str, str] | None = None) -> None:
        done = subprocess.run(
            command,
            cwd=self._folder,
            env=os.environ | (environment or {}),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{command[-2]} ended with {done.returncode}: {done.stderr[-_LAST_WORDS:]}")


def timed(text: str) -> tuple[float, float, int]:
    """Seconds, bytes sent and rounds of the program's timer, from what a party printed. Raises RuntimeError."""
    match = _TIMED.search(text)
    if match is None:
        raise RuntimeError(f"a party printed no time: {text[-_LAST_WORDS:]}")
    return float(match[1]), float(match[2]) * 1e6, int(match[3])


def _text(log: IO[str]) -> str:
    with log:
        log.seek(0)
        return log.read()


def main() -> int:
    """Serve the line protocol."""
    workload, folder = map(Path, sys.argv[1:])

    def prepare() -> tuple[lines.Answer, lines.Run]:
        cluster = Cluster(workload, folder)
        description = {
            "versions": {"mp-spdz": cluster.commit()},
            "configuration": {
                "protocol": "Rep4, four parties, one of them may deviate (abort), ring of 64 bits",
                "fraction_bits": FRACTION_BITS,
                "truncation": "probabilistic" if mp_spdz_program.PROBABILISTIC else "nearest",
                "gelu": "PUMA, four pieces",
                "softmax": "MP-SPDZ's, a row at a time",
                "layer_norm": "MP-SPDZ's, approximate inverse square root",
            },
        }
        return description, lambda command: cluster.run(command["output"])

    return lines.serve(prepare)


if __name__ == "__main__":
    sys.exit(main())
