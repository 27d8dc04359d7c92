"""The mathematics: ring arithmetic, secret tensors, protocol families. Imports nothing else of this project."""
