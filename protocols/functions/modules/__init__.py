"""Functions that torch modules call and no model of `models/families` does."""
