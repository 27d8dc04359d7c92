"""The benchmark harness: `python -m bench --help`. Nothing imports it."""
