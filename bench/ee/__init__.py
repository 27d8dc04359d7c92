"""Equivariant encryption measured: how exact it is, and what it costs."""
