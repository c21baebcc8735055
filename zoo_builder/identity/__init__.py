"""Which zoo a zoo is: known digests, what a zoo is compared with, and how two zoos differ."""
