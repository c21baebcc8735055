"""Hostile files: `mutations.py` makes them out of sound ones, `targets.py` gives them to the readers.

tests/test_hostile_files.py does so for seconds, `python -m tests.fuzz` for as long as it is told to.
"""
