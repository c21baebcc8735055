"""The exceptions that mean "your input, not our bug": command lines turn them into exit code 2."""


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
