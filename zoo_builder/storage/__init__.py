"""The files of a zoo: what they are called, what they hold, how they are written and read."""
