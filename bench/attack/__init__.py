"""The red team: attacks on equivariant encryption, each in one file with its mathematics, and what they decide."""
