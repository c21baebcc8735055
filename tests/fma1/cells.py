"""The cells of `fma-1`: one step of a layer, there and back.

Axis letters: R rows, G gates, H units.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fma1.functions import ONE, Floats, fma, sigmoids, tanh, tanh_sigmoid


@dataclass(frozen=True)
class Values:
    """What a layer computes for rows at a step, all [R, H]: its gates by name, h and (LSTM) c."""

    gates: dict[str, Floats]
    h: Floats
    c: Floats


@dataclass(frozen=True)
class GateGradients:
    """Gradients of the gates' two shares, and what is carried to the step before: [R, G, H], [R, G, H], [R, H]."""

    of_input: Floats
    of_state: Floats
    carried: Floats


def lstm_forward(a: Floats, m: Floats, h: Floats, c: Floats) -> Values:
    i, f = sigmoids(a[:, 0], a[:, 1])
    g, o = tanh_sigmoid(a[:, 2], a[:, 3])
    new = fma(f, c, i * g)
    return Values({"i": i, "f": f, "g": g, "o": o}, o * tanh(new), new)


def lstm_backward(at: Values, h: Floats, c: Floats, dh: Floats, carried: Floats) -> GateGradients:
    i, f, g, o = (at.gates[name] for name in "ifgo")
    dc = fma(dh, o - (at.h * at.h) / o, carried)
    a, b = dc * i, dc * f
    di = (a * g) * (ONE - i)
    df = (b * c) * (ONE - f)
    dg = fma(-(a * g), g, a)
    do = (dh * at.h) * (ONE - o)
    gates = np.stack([di, df, dg, do], axis=1)
    return GateGradients(gates, gates, b)


def gru_forward(a: Floats, m: Floats, h: Floats, c: Floats) -> Values:
    r, z = sigmoids(a[:, 0], a[:, 1])
    n = tanh(fma(r, m, a[:, 2]))
    return Values({"r": r, "z": z, "n": n, "m": m}, fma(z, h - n, n), c)


def gru_backward(at: Values, h: Floats, c: Floats, dh: Floats, carried: Floats) -> GateGradients:
    r, z, n, m = (at.gates[name] for name in "rznm")
    d = dh + carried
    carried = d * z
    p = d - carried
    dn = fma(-(p * n), n, p)
    dm = dn * r
    dr = (dm * m) * (ONE - r)
    dz = (carried * (h - n)) * (ONE - z)
    return GateGradients(np.stack([dr, dz, dn], axis=1), np.stack([dr, dz, dm], axis=1), carried)


def tanh_forward(a: Floats, m: Floats, h: Floats, c: Floats) -> Values:
    return Values({}, tanh(a[:, 0]), c)


def tanh_backward(at: Values, h: Floats, c: Floats, dh: Floats, carried: Floats) -> GateGradients:
    gates = fma(-(dh * at.h), at.h, dh)[:, None]
    return GateGradients(gates, gates, np.zeros_like(dh))


@dataclass(frozen=True)
class Arithmetic:
    """A cell. Orders: of its gates in the sums to the step before and to the layer below."""

    forward: Callable[[Floats, Floats, Floats, Floats], Values]
    backward: Callable[[Values, Floats, Floats, Floats, Floats], GateGradients]
    order_before: tuple[int, ...]
    order_below: tuple[int, ...]
    split_gate: int | None = None


CELLS = {
    "lstm": Arithmetic(lstm_forward, lstm_backward, (0, 1, 2, 3), (0, 1, 2, 3)),
    "gru": Arithmetic(gru_forward, gru_backward, (0, 1, 2), (2, 0, 1), split_gate=2),
    "tanh": Arithmetic(tanh_forward, tanh_backward, (0,), (0,)),
}
