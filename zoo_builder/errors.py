"""The one exception that means "your input, not our bug": command lines turn it into exit code 2."""


class RnnzooError(ValueError):
    """Bad input. The message names the file, key or option, what was found and what was expected."""
