"""Our system beside others on one machine, in one run. Each peer has its own virtual environment and process.

A runner (`spu_runner`, `crypten_runner`) runs inside its peer's environment. What it imports from here therefore needs
nothing but the standard library and numpy: `lines`, `puma`, `workload_file`.
"""
