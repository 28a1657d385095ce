"""
Exit statuses, and how errors of the client become one sentence and a status. docs/command-line.md lists them.
"""

import errno
import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Any, NoReturn, cast

import typer
from typer.core import TyperGroup

from kns.cli.kubectl import KubectlError
from kns.cli.report import escape
from kns.client import OWN_PREFIX, AnswerError, ClientError, NoResponseError, ResponseError, UnknownJobError


class Exit(IntEnum):
    """Scripts compare these numbers, so they never change."""

    OK = 0
    FAILED = 1  # the job failed, a checked file has problems, or a copy or the output is not complete
    USAGE = 2  # wrong arguments
    SIGNED_OUT = 3  # no credentials, wrong ones, or no right
    NOT_FOUND = 4
    REFUSED = 5  # kns refuses the request, or the job's state does not permit it
    UNREACHABLE = 6  # no answer, or kns is not ready
    TIMED_OUT = 7  # the time of --timeout is over
    STOPPED = 8  # the job was terminated or canceled
    INTERRUPTED = 130
    UNREAD = 141  # whoever read the output has ended; a shell shows this number for a program that SIGPIPE ended


class CommandError(Exception):
    """A command cannot go on. `message` is one sentence that says what to do."""

    def __init__(self, status: Exit, message: str) -> None:
        self.status = status
        super().__init__(message)


class Terminated(BaseException):
    """A signal asks the program to end. `number` is that of the signal."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(number)


# typer has its own copy of click, and no public name for the base of its errors of usage.
_UsageError = cast("type[typer.BadParameter]", typer.BadParameter.__base__)
_FULL = (errno.ENOSPC, errno.EDQUOT)
_HELP_IS_SHOWN = "NoArgsIsHelpError"  # not an error: a group without arguments


class KnsGroup(TyperGroup):
    """The commands. Expected errors end the program with one line on stderr and their status."""

    def make_context(self, info_name: str | None, args: list[str], *rest: Any, **options: Any) -> Any:
        try:
            "".join(args).encode()
        except UnicodeEncodeError:
            _end(Exit.USAGE, "an argument is not in UTF-8")
        try:
            with _ended_by_output():  # it shows help and version
                return super().make_context(info_name, args, *rest, **options)
        except _UsageError as error:
            _end_usage(error)

    def invoke(self, ctx: Any) -> Any:  # typer's own class for it has no public name
        try:
            with _ended_by_output():
                try:
                    return super().invoke(ctx)
                finally:
                    sys.stdout.flush()
        except _UsageError as error:
            _end_usage(error)
        except CommandError as error:
            _end(error.status, str(error))
        except ClientError as error:
            _end(*explain_client_error(error))
        except KubectlError as error:
            _end(*explain_kubectl_error(error))
        except (KeyboardInterrupt, typer.Abort):  # typer's prompts raise the second one
            raise typer.Exit(Exit.INTERRUPTED) from None
        except Terminated as error:
            raise typer.Exit(128 + error.number) from None


@contextmanager
def _ended_by_output() -> Iterator[None]:
    """
    End the program if its output cannot be written. What is still in the buffer is dropped, because it would fail once
    more when the interpreter ends.
    """
    try:
        yield
    except SystemExit as error:
        if not isinstance(error.__context__, BrokenPipeError):  # rich ends the program with status 1 for it
            raise
        sys.stdout = io.StringIO()
        raise typer.Exit(Exit.UNREAD) from None
    except BrokenPipeError:
        sys.stdout = io.StringIO()
        raise typer.Exit(Exit.UNREAD) from None
    except OSError as error:
        if error.errno not in _FULL:
            raise
        sys.stdout = io.StringIO()
        _end(Exit.FAILED, f"the output is not complete: {error.strerror}")


def _end_usage(error: typer.BadParameter) -> NoReturn:
    if type(error).__name__ == _HELP_IS_SHOWN:
        raise error
    command = error.ctx.command_path if error.ctx is not None else "kns"
    text = error.format_message().rstrip(".?").replace("Value error, ", "")
    _end(Exit.USAGE, f"{text[:1].lower()}{text[1:]}; see `{command} --help`")


def _end(status: Exit, message: str) -> NoReturn:
    print_error(message)
    raise typer.Exit(status) from None


def print_error(message: str) -> None:
    """The line of an error. It does not end the program."""
    typer.echo(f"kns: {escape(message)}", err=True)


_UNKNOWN_ROUTE = "Not found"
_SYNTAX = "Missing or Malformed API Syntax: "
_SENTENCES: dict[tuple[int, str], tuple[Exit, str]] = {
    (404, "Application Not Found"): (Exit.NOT_FOUND, "there is no such app or command; `kns apps` lists the apps"),
    (404, "Running job is not found"): (
        Exit.REFUSED,
        "the job is not running: it has not started, or it has ended; `kns explain` says why",
    ),
    (429, "Only one active job allowed per VM"): (
        Exit.REFUSED,
        "you have as many live jobs as this site allows; stop one with `kns stop`",
    ),
    (401, "Account billing not active"): (Exit.SIGNED_OUT, "your account is not active; ask the site's administrator"),
}


def explain_client_error(error: ClientError) -> tuple[Exit, str]:
    """The status and the sentence for an error of the client."""
    if isinstance(error, NoResponseError):
        return Exit.UNREACHABLE, f"{error}; check the address (--url, KNS_URL or `kns login`) and your network"
    if isinstance(error, AnswerError):
        return Exit.UNREACHABLE, f"{error}; check the address (--url, KNS_URL or `kns login`)"
    if isinstance(error, UnknownJobError):
        return Exit.NOT_FOUND, str(error)
    if not isinstance(error, ResponseError):
        return Exit.REFUSED, str(error)
    known = _SENTENCES.get((error.status, error.text))
    if known is not None:
        return known
    return _explain_status(error)


def _explain_status(error: ResponseError) -> tuple[Exit, str]:
    match error.status:
        case 401:
            return Exit.SIGNED_OUT, "kns does not accept these credentials, or they lack the right; run `kns login`"
        case 403:
            return Exit.SIGNED_OUT, error.text
        case 404 if f"{OWN_PREFIX}/" in error.call and error.text == _UNKNOWN_ROUTE:
            return Exit.UNREACHABLE, "this kns is too old for the command: it does not have the route that it needs"
        case 404:
            return Exit.NOT_FOUND, "there is no such job, or it is not yours; `kns list --all` lists your jobs"
        case status if 300 <= status < 400:
            return (
                Exit.UNREACHABLE,
                f"{error.call}: {error.text}, which is not followed; if you trust that address, use it with --url, "
                "KNS_URL or `kns login`",
            )
        case 429:
            return Exit.REFUSED, f"{error.text}; wait a minute and try again"
        case 503:
            return Exit.UNREACHABLE, "kns is not ready, or its cluster does not answer; try again in a moment"
        case status if status >= 500:
            return Exit.UNREACHABLE, f"kns failed: {error}; ask the site's administrator"
    return Exit.REFUSED, f"refused: {error.text.removeprefix(_SYNTAX)}"


def explain_kubectl_error(error: KubectlError) -> tuple[Exit, str]:
    """The status and the sentence for a call of kubectl that failed."""
    if error.is_forbidden:
        return (
            Exit.SIGNED_OUT,
            f"{error}; your access to the host cluster lacks this right: use --gateway or `kns shell`, or ask its "
            "administrator",
        )
    if isinstance(error.__cause__, OSError):  # it did not start
        return Exit.USAGE, str(error)
    return Exit.UNREACHABLE, f"{error}; check that KUBECONFIG leads to the host cluster of this site, or use --gateway"
