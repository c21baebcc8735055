"""The arithmetic `fma-1` from docs/arithmetic.md alone, number by number: what compiled kernels are compared with.

It is slow and plain. NumPy works on many elements at once, but every sum runs through its terms one by one, in the
order of that page, whose names are used here.
"""

from fma1.functions import exp, fma, log, sigmoids, tanh
from fma1.kernel import Fma1Kernel

__all__ = ["Fma1Kernel", "exp", "fma", "log", "sigmoids", "tanh"]
