"""Formal languages a^n b^(n+i) c^(n+j) d^(n+k): a task is the offsets (i, j, k)."""
