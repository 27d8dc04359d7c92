"""Faults of one role of the witnessed protocol, counted: what is caught, and what a cheater hears."""
