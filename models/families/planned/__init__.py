"""Kin of other families, whose heads attend by kinds and whose layers may lack an activation and norms."""
