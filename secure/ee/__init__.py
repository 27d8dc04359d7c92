"""Equivariant encryption of checkpoints: files, command line, and the model as its client sees it."""
