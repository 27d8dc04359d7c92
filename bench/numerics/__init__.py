"""Our functions beside PUMA's approximations: error and cost of each, and what they do to whole models."""
