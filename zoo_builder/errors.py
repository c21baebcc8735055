"""The exceptions that mean "your input, not our bug": command lines turn them into exit code 2."""

import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from numbers import Integral
from pathlib import Path


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


@contextmanager
def blaming(whose: str) -> Iterator[None]:
    """Let what goes wrong in code from elsewhere be an error of its author: it says what, and in which line.

    Args:
        whose: The method or attribute that is to blame.

    Raises:
        RnnzooError: "<whose>: KeyError: 'kk' (family.py:33)". The exception itself is its cause.
    """
    try:
        yield
    except RnnzooError:
        raise
    except Exception as error:
        raise RnnzooError(f"{whose}: {type(error).__name__}: {error}{_line_of(error)}") from error


def _line_of(error: Exception) -> str:
    """Where the exception comes from: the innermost line of the first file that is none of this package's."""
    frames = traceback.extract_tb(error.__traceback__)[1:]
    here = Path(__file__).parent
    others = [frame for frame in frames if here not in Path(frame.filename).parents]
    told = [frame for frame in frames if not others or frame.filename == others[0].filename]
    return f" ({told[-1].filename}:{told[-1].lineno})" if told else ""


def some_of(texts: Sequence[str], most: int = 3) -> str:
    """The first of many texts, and how many more there are."""
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more
