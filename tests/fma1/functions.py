"""Numbers and functions of `fma-1`, as docs/arithmetic.md writes them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
NAN = np.array([0x7FC00000], np.uint32).view(np.float32)[0]
ONE = np.float32(1)


def fma(a: Any, b: Any, c: Any) -> Floats:
    """a b + c of float32, rounded once.

    The product is exact in double. The sum is rounded to odd in double, which has more than twice the bits of a
    float and two to spare, so that rounding it once more, to float, gives what one rounding gives.
    """
    product = np.asarray(a, np.float32).astype(np.float64) * np.asarray(b, np.float32).astype(np.float64)
    addend = np.asarray(c, np.float32).astype(np.float64)
    total = np.asarray(product + addend)
    share = total - product
    error = (product - (total - share)) + (addend - share)
    is_even = (total.view(np.int64) & 1) == 0
    away = np.where((error > 0) == (total > 0), 1, -1)
    odd = np.where(((error > 0) | (error < 0)) & is_even, away, 0)
    return (total.view(np.int64) + odd).view(np.float64).astype(np.float32)


def stored(values: Any) -> Floats:
    """Floats as they are stored, every NaN the same."""
    values = np.asarray(values, np.float32)
    return np.where(np.isnan(values), NAN, values)


def bits(values: Floats) -> NDArray[np.uint32]:
    return np.asarray(values, np.float32).view(np.uint32)


def limit(x: Floats, most: float) -> Floats:
    bound = np.float32(most)
    return np.where(x < -bound, -bound, np.where(x > bound, bound, x))


def parts(x: Floats) -> tuple[Floats, Floats]:
    """fraction, power."""
    r = fma(x, np.float32(1.44269504), np.float32(12583039.0))
    n = r - np.float32(12583039.0)
    f = fma(x, np.float32(1.44269504), -n)
    p = fma(f, np.float32(0.000154035122), np.float32(0.00133908493))
    for coefficient in (0.00961823761, 0.0555035733, 0.240226492, 0.693147182):
        p = fma(p, f, np.float32(coefficient))
    return p * f, (bits(r) << np.uint32(23)).view(np.float32)


def exp(x: Floats) -> Floats:
    fraction, power = parts(np.where(x < np.float32(-87), np.float32(-87), x))
    return fma(fraction, power, power)


def sigmoid_below(x: Floats) -> Floats:
    fraction, power = parts(-limit(x, 43))
    return fma(fraction, power, power + ONE)


def tanh_above(x: Floats) -> Floats:
    fraction, power = parts(limit(x + x, 43))
    return fma(fraction, power, power - ONE)


def sigmoids(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    a, b = sigmoid_below(x), sigmoid_below(y)
    i = ONE / (a * b)
    return b * i, a * i


def tanh_sigmoid(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    m = tanh_above(x)
    a, b = m + np.float32(2), sigmoid_below(y)
    i = ONE / (a * b)
    return m * (b * i), a * i


def tanh(x: Floats) -> Floats:
    m = tanh_above(x)
    return m / (m + np.float32(2))


def log(x: Floats) -> Floats:
    shifted = bits(x) + np.uint32(0x3F800000 - 0x3F2AAAAB)
    y = ((shifted & np.uint32(0x7FFFFF)) + np.uint32(0x3F2AAAAB)).view(np.float32)
    n = (shifted >> np.uint32(23)).astype(np.float32) - np.float32(127)
    s = (y - ONE) / (y + ONE)
    z = s * s
    q = fma(z, np.float32(0.2222222222), np.float32(0.2857142857))
    q = fma(q, z, np.float32(0.4))
    q = fma(q, z, np.float32(0.6666666667))
    t = fma(s * z, q, s + s)
    return np.where(np.isnan(x), NAN, fma(n, np.float32(0.693147182), t))


def power(b: float, n: int) -> float:
    r = 1.0
    while n:
        if n % 2:
            r = r * b
        b = b * b
        n //= 2
    return r
