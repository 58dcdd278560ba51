"""A group of commands that are imported by name, and the border where errors become messages and exit codes."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Mapping
from importlib import import_module
from typing import IO, Any

import click

from arts_lite.errors import ArtsError

NO_ANSWER, USAGE, FAILURE, DEFECT, INTERRUPTED = 1, 2, 3, 4, 130
_VERBOSE = "arts_lite.verbose"


class Failure(click.ClickException):
    """A model or an input that cannot be used: told in one line, exit code 3."""

    exit_code = FAILURE

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the message to stderr."""
        click.echo(f"Error: {self.message}", file=file, err=file is None)


class Commands(click.Group):
    """Knows its commands' names and one-line helps; imports one when it is run.

    Args:
        commands_by_name: name -> ("module:attribute", one-line help).
    """

    def __init__(self, *args: Any, commands_by_name: Mapping[str, tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._by_name = commands_by_name

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Names, in the order of their definition."""
        return list(self._by_name)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import a command; None if there is none of this name."""
        if cmd_name not in self._by_name:
            return None
        module, _, attribute = self._by_name[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self._by_name.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; every error becomes a message and an exit code."""
        for stream in (sys.stdout, sys.stderr):
            reconfigure = getattr(stream, "reconfigure", None)
            if reconfigure is not None:  # a character that the terminal cannot show must not end the run
                reconfigure(errors="backslashreplace")
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED)
        except BrokenPipeError:
            _leave_closed_pipe()
            ctx.exit(FAILURE)
        except (ArtsError, ImportError, OSError) as error:
            _show_traceback(ctx)
            raise Failure(str(error)) from error
        except MemoryError as error:
            _show_traceback(ctx)
            raise Failure("out of memory; take a smaller model, --ctx-size or --n") from error
        except Exception as error:
            if not _show_traceback(ctx):
                click.echo("Run it again with -v for the traceback, and please report it.", err=True)
            click.echo(f"Error: arts-lite failed: {type(error).__name__}: {error}", err=True)
            ctx.exit(DEFECT)


def verbose_option(command: Any) -> Any:
    """Add `-v`, which the error border looks at too."""

    def remember(ctx: click.Context, _option: click.Parameter, value: bool) -> bool:
        ctx.meta[_VERBOSE] = value
        return value

    text = "Show llama.cpp's log, and tracebacks of errors."
    return click.option("-v", "--verbose", is_flag=True, is_eager=True, callback=remember, help=text)(command)


def _show_traceback(ctx: click.Context) -> bool:
    if ctx.meta.get(_VERBOSE):
        traceback.print_exc()
        return True
    return False


def _leave_closed_pipe() -> None:
    """Whoever read our output is gone: let the interpreter's last flush go nowhere."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):  # stdout is no file
        return
