"""Runs the command line inside the test's own process."""

from collections.abc import Callable

from click.testing import CliRunner, Result

from luthier.cli import main

Run = Callable[..., Result]


def run(*args: object, text: str | None = None) -> Result:
    """A command line to its end; anything but an orderly exit is an error of the test."""
    result = CliRunner().invoke(main, [str(arg) for arg in args], input=text)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert "Traceback" not in result.output
    return result
