"""The reference protocol on plain floats."""
