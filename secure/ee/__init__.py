"""Equivariant encryption of checkpoints, in rooms that import downwards only:

http      the server's endpoint of ids, the client's proxy for text, and the processes round them
client    `EncryptedModel`: a checkpoint as the key's holder uses it
engine    what runs a checkpoint; knows of no key          owner     what encrypts, decrypts and verifies one
files     the formats: folders, manifests, keys, sealed files, claims
"""
