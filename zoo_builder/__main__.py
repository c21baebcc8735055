"""`python -m rnnzoo.zoo_builder` is `zoo-builder`."""

from rnnzoo.zoo_builder.cli import main

main()
