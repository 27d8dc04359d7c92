"""What known attacks on LPN with regular noise take at least, in bit operations, as logarithms to base two.

n samples in t blocks of B, each with one error; a secret of k bits. Every block's samples add up to one more than
without noise, which is t equations for nothing: k' = k - t unknowns are left. All three counts favour the attacker:
linear algebra on m unknowns takes m^2 here, and memory nothing.
"""

from __future__ import annotations

import math

_ERRORS = range(0, 17, 2)
_DEGREES = range(2, 6)


def pooled_gauss(n: int, k: int, t: int) -> float:
    """Guess k' samples without error, as many in each block, and solve."""
    return -t * math.log2(1 - (k - t) / n) + 2 * math.log2(k - t)


def information_sets(n: int, k: int, t: int) -> float:
    """As pooled Gauss with up to 16 errors among them, half of them in either half, found by meeting in the middle."""
    unknown = k - t
    rate, found = unknown / n, math.inf
    for errors in _ERRORS:
        ways = 2 * math.log2(math.comb(t // 2, errors // 2))
        chance = ways + (t - errors) * math.log2(1 - rate) + errors * math.log2(rate)
        listed = math.log2(math.comb(unknown // 2, errors // 2))
        found = min(found, max(2 * math.log2(unknown), listed) - chance)
    return found


def algebraic(n: int, k: int, t: int) -> float:
    """Guess u samples of each block to be free of errors; in those left, products within a block are zero.

    The quadratic system is solved at the least degree d at which its Hilbert series over GF(2) has a coefficient that
    is not positive, by Wiedemann's algorithm on the monomials of up to that degree. Briaud and Øygarden, 2023.
    """
    block, found = n // t, math.inf
    for guessed in range(0, block - 1, max(1, block // 512)):
        unknown, size = k - t - guessed * t, block - guessed - 1
        chance = t * math.log2(1 - guessed / block)
        if unknown <= 0:
            break
        equations = t * size - unknown
        noise = [math.comb(t, d) * size**d for d in range(_DEGREES.stop)]
        linear = [(-1) ** d * math.comb(equations + d - 1, d) for d in range(_DEGREES.stop)]
        for degree in _DEGREES:
            if sum(noise[i] * linear[degree - i] for i in range(degree + 1)) <= 0:
                monomials = sum(math.comb(unknown, i) for i in range(degree + 1))
                found = min(found, math.log2(3 * unknown) + 2 * math.log2(monomials) - chance)
                break
    return found


def security(n: int, k: int, t: int) -> float:
    """The least of them."""
    return min(attack(n, k, t) for attack in (pooled_gauss, information_sets, algebraic))
