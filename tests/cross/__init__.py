"""The kernel built for other processors and by other compilers, without Python: see `tests/test_same_bits.py`."""
