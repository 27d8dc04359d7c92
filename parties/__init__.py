"""The processes: gRPC transport over mutual TLS, the party and dealer servers, the client, and the launcher.

One process per role. A session begins at the client, which opens a `Run` stream to p0, p1 and the dealer; p0 then opens
`Exchange` to p1, and the dealer opens `Deal` to both. See `wire.proto` for what travels on each.
"""

import os

# gRPC writes lines of its own to standard error, which say again what errors and logs say here. It reads this variable
# when it is imported, by modules of this package alone.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
