"""A gateway in a process of its own, under two ports: one puts what arrives together, the other sends each alone.

Both have one model at the parties. Said on standard output: a line of JSON with the ports. It ends with standard input.
"""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack, closing
from pathlib import Path

from secure.api import PrivateModel
from secure.connection import connect
from secure.gateway.batcher import MOST_ROWS
from secure.gateway.serving import Gateway, is_language_model
from secure.http.host import HttpServer

NAME = "model"
KINDS = {"alone": 1, "together": MOST_ROWS}


def serve(config: Path, folder: Path) -> None:
    """Until standard input ends."""
    with ExitStack() as ending:
        parties = ending.enter_context(connect(config))
        model = PrivateModel.from_pretrained(folder, parties=parties, head=is_language_model(folder), progress=False)
        ports = {}
        for kind, most_rows in KINDS.items():
            gateway = ending.enter_context(closing(Gateway(model, [NAME], most_rows=most_rows)))
            server = HttpServer(gateway.app, "127.0.0.1:0")
            ending.callback(server.stop)
            ports[kind] = server.start()
        print(json.dumps(ports), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    serve(Path(sys.argv[1]), Path(sys.argv[2]))
