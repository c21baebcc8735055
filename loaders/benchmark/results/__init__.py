"""The files of a results folder, and what they say together."""
