"""The exceptions that mean "your input, not our bug": command lines turn them into exit code 2."""

import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from numbers import Integral

_LIBRARIES = ("datasets", "jinja2", "matplotlib", "numpy", "pandas", "pyarrow", "scipy", "sklearn", "torch")


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


def check_whole_number(parameter: str, value: object, least: int, most: int | None = None) -> None:
    """Raise ParameterError for what is no whole number of a range (most: None for no end), or a truth value."""
    is_whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not is_whole or int(value) < least or (most is not None and int(value) > most):  # type: ignore[call-overload]
        end = "on" if most is None else f"to {most}"
        raise ParameterError(parameter, f"found {value!r:.200}, expected a whole number from {least} {end}")


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
    except (Exception, SystemExit) as error:
        raise RnnzooError(f"{whose}: {type(error).__name__}: {error}{_line_of(error)}") from error


def _line_of(error: BaseException) -> str:
    """Where an exception comes from: the innermost line that is neither this package's nor of what it needs."""
    if isinstance(error, SyntaxError):  # which says so itself
        return ""
    told = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        module = str(frame.f_globals.get("__name__")).partition(".")[0]
        if module not in {"rnnzoo", *_LIBRARIES, *sys.stdlib_module_names}:
            told = f" ({frame.f_code.co_filename}:{line})"
    return told


def in_a_line(value: object) -> str:
    """What was found, for an error: its beginning, in one line."""
    return f"{' '.join(repr(value).split()):.200}"


def some_of(texts: Sequence[str], most: int = 3) -> str:
    """The first of many texts, and how many more there are."""
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more
