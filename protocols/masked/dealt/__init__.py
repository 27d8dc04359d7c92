"""Secrets of which a dealer knows the masks: how they become masked pairs, in two parts or in three."""
