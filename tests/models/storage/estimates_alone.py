"""A program that estimates requests as a party does, and prints what modules that took: manifest.json ..."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from secure.models.contract.manifest import Manifest
from secure.models.contract.request import Request
from secure.models.graph.network import GraphNetwork
from secure.models.program import network
from secure.models.storage.working_set import WorkingSets

if __name__ == "__main__":
    before, sets = set(sys.modules), WorkingSets()
    for path in sys.argv[1:]:
        net = network(Manifest.from_json(Path(path).read_text(encoding="utf-8")))
        for tokens in (3, 8):
            request = Request(net.whole_output, 2, tokens, masked=True)
            if isinstance(net, GraphNetwork):
                request = net.request("hidden", {})
            net.validate(request)
            assert sets.bytes(net, request) > 0
    print(json.dumps(sorted(set(sys.modules) - before)))
