"""The exceptions that mean "your input, not our bug": command lines turn them into exit code 2."""

from collections.abc import Sequence
from numbers import Integral


class RnnzooError(ValueError):
    """Bad input. The message names the file, key or parameter, what was found and what was expected."""


class ParameterError(RnnzooError):
    """A bad value of a parameter: "<parameter>: <problem>".

    A command line that has an option for the parameter shows the option's name instead.
    """

    def __init__(self, parameter: str, problem: str) -> None:
        super().__init__(parameter, problem)  # both are args, so the error survives pickling
        self.parameter, self.problem = parameter, problem

    def __str__(self) -> str:
        return f"{self.parameter}: {self.problem}"


def check_whole_number(parameter: str, value: object, least: int, most: int) -> None:
    """Raise ParameterError for what is no whole number in a range; a truth value is none."""
    if not isinstance(value, Integral) or isinstance(value, bool) or not least <= int(value) <= most:
        raise ParameterError(parameter, f"found {value!r:.200}, expected a whole number from {least} to {most}")


def some_of(texts: Sequence[str], most: int = 3) -> str:
    """The first of many texts, and how many more there are."""
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more
