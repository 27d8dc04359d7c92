"""Models that were captured from a user's torch module: a description of a graph, and how it runs on secret tensors."""
