"""Where zoos are read from: `open_source` gives a `Source`, which is a folder or a repository on the hub."""
