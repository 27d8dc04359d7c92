"""Parameters of the homomorphic encryption, and where each of them comes from.

Scheme: BFV, by SEAL. Plaintexts are polynomials of degree below N with coefficients mod t = 2^48, the ring of products
of two numbers with 16 fraction bits; what wraps in them wraps in the ring, too. A ciphertext is (c_0, c_1) mod Q.

*Security* is that of RLWE with N = 8192 and 178 bits of primes; SEAL refuses more than 218 for 128 bits of security
with ternary secrets (the table of homomorphicencryption.org), and checks it when the scheme is made.

*Noise.* A fresh ciphertext's noise is below 2^5 in each coefficient: a clipped Gaussian of at most 19.2, and half a
unit of rounding. A combination with weights w has Σ|w| times as much, at most. The owner adds a number that is uniform
below 2^69 to each coefficient, so that what the client could see of the weights in the noise is drowned, but for a
statistical distance of Σ|w| 2^5 / 2^69, which is below 2^-40 as long as Σ|w| < 2^24. Δ = Q / t = 2^72, so up to 2^71
may be added. One prime is dropped before the reply: 60 bits remain, Δ = 2^12, the flood is 2^9 then, and the rounding
below 2^8 but with probability 2^-100, together below 2^11.
"""

from __future__ import annotations

DEGREE = 8192
"""N: coefficients of a polynomial."""
PLAIN_BITS = 48
"""t = 2^48."""
PRIME_BITS = (60, 60, 58)
"""Lengths of the primes; ciphertexts have the first two. The last one is SEAL's own, for keys."""
FLOOD_BITS = 69
MOST_NORM_BITS = 24
"""Σ|w| of one output is below 2^24: with 16 fraction bits, 256 in sum."""
PIECE_BITS = 20
"""Residues are multiplied in three pieces: a sum of 2^16 products with weights of 17 bits fits a float64's 53."""
SEED_BYTES = 64
"""SEAL's seed, of which the second polynomial of a fresh ciphertext is expanded."""
