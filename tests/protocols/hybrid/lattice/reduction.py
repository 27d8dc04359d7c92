"""A lattice's short vectors, for an attack: LLL in exact arithmetic, for a few dimensions."""

from __future__ import annotations

from fractions import Fraction

Vector = list[int]


def reduced(basis: list[Vector]) -> list[Vector]:
    """An LLL-reduced basis, with the customary 3/4."""
    rows, k = [list(row) for row in basis], 1
    while k < len(rows):
        orthogonal, factors = _orthogonalised(rows[: k + 1])
        for j in range(k - 1, -1, -1):
            quotient = round(factors[k][j])
            if quotient:
                rows[k] = [a - quotient * b for a, b in zip(rows[k], rows[j], strict=True)]
                for i in range(j + 1):
                    factors[k][i] -= quotient * factors[j][i]
        lengths = [_dot(vector, vector) for vector in orthogonal]
        if lengths[k] >= (Fraction(3, 4) - factors[k][k - 1] ** 2) * lengths[k - 1]:
            k += 1
        else:
            rows[k - 1], rows[k] = rows[k], rows[k - 1]
            k = max(k - 1, 1)
    return rows


def _dot(x: list[Fraction], y: list[Fraction]) -> Fraction:
    return sum((a * b for a, b in zip(x, y, strict=True)), Fraction(0))


def _orthogonalised(rows: list[Vector]) -> tuple[list[list[Fraction]], list[list[Fraction]]]:
    """Gram and Schmidt's vectors and factors, those of a vector with itself one."""
    orthogonal: list[list[Fraction]] = []
    factors: list[list[Fraction]] = []
    for row in rows:
        vector, own = [Fraction(value) for value in row], []
        for other in orthogonal:
            factor = _dot([Fraction(value) for value in row], other) / _dot(other, other)
            own.append(factor)
            vector = [a - factor * b for a, b in zip(vector, other, strict=True)]
        orthogonal.append(vector)
        factors.append([*own, Fraction(1)])
    return orthogonal, factors
