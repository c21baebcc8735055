"""`python -m zoo_builder` is `zoo-builder`."""

from zoo_builder.cli import main

main()
