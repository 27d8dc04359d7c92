"""A runner's side of the line protocol: JSON objects, one a line, on standard input and output.

The runner writes a description once it is ready. Then each {"cmd": "run", "output": PATH} is answered by an object with
the run's figures. An answer with the key "error" is the last one.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

Answer = dict[str, Any]
Run = Callable[[Answer], Answer]


def serve(prepare: Callable[[], tuple[Answer, Run]]) -> int:
    """Prepare, say so, then run whenever told to, until standard input ends. Returns the exit status."""
    # Libraries print to standard output as they please. From here on that goes to standard error.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)

        def answer(content: Answer) -> None:
            answers.write(json.dumps(content) + "\n")
            answers.flush()

        try:
            description, run = prepare()
            answer(description)
            for line in sys.stdin:
                answer(run(json.loads(line)))
        except Exception as error:
            traceback.print_exc()
            answer({"error": f"{type(error).__name__}: {error}"})
            return 1
    return 0


def peak_memory_bytes() -> int:
    """Most memory that this process held so far; 0 where the system does not tell."""
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return 0
