"""Functions of secrets, written once over the primitives of `Protocol`; each file is one function or a family."""
