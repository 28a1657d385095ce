"""`kns submit`: build a submission from arguments or a file, send it, and perhaps wait."""

import base64
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from kns.cli.children import ending_in_order
from kns.cli.exits import CommandError, Exit, Terminated, explain_client_error, print_error
from kns.cli.input_files import read_input
from kns.cli.jobs import finish
from kns.cli.offers import find_app, list_fit_machines
from kns.cli.options import Output, Timeout, read_job
from kns.cli.screen import Format
from kns.cli.session import get_session
from kns.cli.submission_file import read_file
from kns.cli.waiting import Until, describe_living, is_unanswered, wait_for
from kns.client import Client, ClientError, ResponseError, Submitted
from kns.model.errors import InvalidInputError
from kns.model.job.idempotency import digest_request
from kns.model.reading.parsing import parse_model
from kns.model.submit.submission import Submission

_TRIES = 3  # of one submission: the idempotency key keeps a repeated one from starting a second job
_RETRY_AFTER_S = 2.0
_WRONG_SHAPE = "Missing or Malformed API Syntax"

App = Annotated[str | None, typer.Argument(metavar="APP", help="Id of the app.", show_default=False)]
Parameters = Annotated[
    list[str] | None, typer.Option("--param", "-p", metavar="KEY=VALUE", help="A parameter of the app; repeatable.")
]
Uploads = Annotated[
    list[str] | None, typer.Option("--upload", metavar="KEY=FILE", help="A file for a parameter of type UPLOAD.")
]
Machine = Annotated[
    str | None, typer.Option("--machine", "-m", metavar="NAME", help="The machine; without it the first of `kns app`.")
]
Nodes = Annotated[int | None, typer.Option("--nodes", min=1, help="How many nodes of the machine.")]
CommandOption = Annotated[
    str | None, typer.Option("--command", "-c", metavar="NAME", help="The app's command, if it has several.")
]
Walltime = Annotated[str | None, typer.Option("--walltime", "-t", metavar="HH:MM:SS", help="Longest time to run.")]
Label = Annotated[str | None, typer.Option("--label", "-l", help="A label to find the job by.")]
Project = Annotated[str | None, typer.Option("--project", help="The project to bill.")]
SubmissionFile = Annotated[
    str | None,
    typer.Option(
        "--file", "-f", metavar="FILE", help="A submission as JSON or YAML, - for standard input; options win."
    ),
]
Again = Annotated[
    str | None,
    typer.Option("--again", metavar="JOB", help="What an earlier job of yours was submitted with; options win."),
]
Vault = Annotated[str | None, typer.Option("--vault", help="The vault to mount.")]

submission = typer.Typer()


@submission.command()
def submit(
    ctx: typer.Context,
    app: App = None,
    file: SubmissionFile = None,
    again: Again = None,
    param: Parameters = None,
    upload: Uploads = None,
    machine: Machine = None,
    nodes: Nodes = None,
    command: CommandOption = None,
    walltime: Walltime = None,
    label: Label = None,
    project: Project = None,
    vault: Vault = None,
    key: Annotated[
        str | None,
        typer.Option("--idempotency-key", metavar="TEXT", help="The same text within a day gets the same job."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the submission and send nothing.")] = False,
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Wait as `kns watch` does.")] = False,
    until: Annotated[Until, typer.Option("--until", help="With --wait: when to stop waiting.")] = Until.SERVING,
    timeout: Timeout = None,
    output: Output = None,
) -> None:
    """
    Submit a job and print its number.

    Options win over the file or the earlier job. With --wait the exit status is that of `kns watch`.
    """
    session = get_session(ctx)
    screen = session.screen_for(output)
    if file is not None and again is not None:
        raise CommandError(Exit.USAGE, "give --file or --again, not both")
    if key is not None:
        check_key(key)
    given = read_file(file) if file is not None else {}
    with session.connect() as client:
        if again is not None:
            given = read_submission(client, again)
        body = merge_options(
            given,
            app=app,
            parameters={**read_pairs(param, "--param"), **read_uploads(upload)},
            machine=machine,
            nodes=nodes,
            command=command,
            walltime=walltime,
            label=label,
            project=project,
            vault=vault,
        )
        if again is not None:
            require_known(body["application"]["parameters"])
        ensure_machine(client, body)
        if dry_run:
            screen.dump(body)
            return
        screen.note(f"{body['app']} on {body['machine']['type']}")
        submitted = send(session.surroundings.sleep, client, body, key=key)
        if not wait:
            if screen.output is Format.TABLE:
                screen.line(str(submitted.number))
                screen.note(f"follow it with: kns watch {submitted.number}")
            else:
                screen.dump({"number": submitted.number, "name": submitted.name})
            return
        screen.note(f"job {submitted.number}")
        with ending_in_order(), _naming(submitted.number):
            found = wait_for(session, screen, client, submitted.number, until=until, timeout_s=timeout)
            finish(screen, client, found)


@contextmanager
def _naming(number: int) -> Iterator[None]:
    """An error or a signal ends the command and not the job, whose number a script has from nowhere else."""
    try:
        yield
    except (KeyboardInterrupt, Terminated, BrokenPipeError):
        print_error(describe_living(number))
        raise
    except CommandError as error:  # by --timeout, which names the job, or because a sign-in has ended
        if error.status is Exit.TIMED_OUT:
            raise
        raise CommandError(error.status, f"{error}; {describe_living(number)}") from error
    except ClientError as error:
        status, sentence = explain_client_error(error)
        if status is Exit.NOT_FOUND:  # an administrator has deleted its record
            raise
        raise CommandError(status, f"{sentence}; {describe_living(number)}") from error


def read_submission(client: Client, job: str) -> dict[str, Any]:
    """
    What a job of the user was submitted with. A parameter that kns did not keep is None.

    Raises:
        CommandError: the user has no such job.
    """
    found = client.find_submission(read_job(job))
    if found is None:
        raise CommandError(Exit.NOT_FOUND, f"you have no job {job}; `kns list --all` lists your jobs")
    return found


def require_known(parameters: Mapping[str, Any]) -> None:
    """
    Raises:
        CommandError: a parameter of an earlier job was too large for its record.
    """
    if lost := [key for key, value in parameters.items() if value is None]:
        raise CommandError(
            Exit.USAGE, f"kns has not kept {', '.join(lost)} of that job; give it again with --param or --upload"
        )


def check_key(key: str) -> None:
    """
    Raises:
        CommandError: kns would refuse the idempotency key, or no header can have it.
    """
    try:
        digest_request("", key)
    except InvalidInputError as error:
        raise CommandError(Exit.USAGE, f"--idempotency-key {error.problem}") from error


def send(sleep: Any, client: Client, body: Mapping[str, Any], *, key: str | None = None) -> Submitted:
    """
    Submit, and repeat it if there was no answer, or only one of a proxy: with the same key it stays one job.

    Raises:
        CommandError: there was none to the last try either.
        ResponseError: kns refused the submission.
    """
    key = key or f"kns-cli-{secrets.token_hex(16)}"
    for attempt in range(1, _TRIES + 1):
        try:
            return client.submit({**client.build_user(), **body}, idempotency_key=key)
        except ClientError as error:
            if isinstance(error, ResponseError) and error.text == _WRONG_SHAPE:
                _name_fault(body)
            if not is_unanswered(error):
                raise
            if attempt == _TRIES:
                status, sentence = explain_client_error(error)
                raise CommandError(status, f"{sentence}; the job may exist all the same, see `kns list`") from error
            sleep(_RETRY_AFTER_S)
    raise AssertionError("the last try returns or raises")


def _name_fault(body: Mapping[str, Any]) -> None:
    """
    The published answer to a wrong shape does not name the key.

    Raises:
        CommandError: it does.
    """
    try:
        parse_model(Submission, body)
    except InvalidInputError as error:
        raise CommandError(Exit.REFUSED, f"refused: {error}") from error


def ensure_machine(client: Client, body: dict[str, Any]) -> None:
    """
    If the submission names no machine, take the first of the catalogue that the app admits, as the page does: an
    administrator decides by the order of the machines.

    Raises:
        CommandError: no machine fits, or the command is no text.
    """
    if not body["machine"].get("type"):
        command = body["application"].get("command")
        if not isinstance(command, str | None):
            raise CommandError(Exit.USAGE, "the file's application.command must be a text")
        body["machine"]["type"] = _choose_machine(client, body["app"], command)


def merge_options(
    given: Mapping[str, Any],
    *,
    app: str | None,
    parameters: Mapping[str, str],
    machine: str | None,
    nodes: int | None,
    command: str | None,
    walltime: str | None,
    label: str | None,
    project: str | None,
    vault: str | None,
) -> dict[str, Any]:
    """The submission without credentials: `given` (a file), changed by the options. It may lack a machine."""
    body = {key: value for key, value in given.items() if key != "user"}
    body["app"] = app or body.get("app")
    if not isinstance(body["app"], str) or not body["app"]:
        raise CommandError(Exit.USAGE, "which app? name it, or give a file with the key app; `kns apps` lists them")
    application = _merge(body, "application", command=command, walltime=walltime)
    known = application.get("parameters") or {}
    if not isinstance(known, Mapping):
        raise CommandError(Exit.USAGE, "the file's application.parameters must be an object")
    application["parameters"] = {**known, **parameters}
    _merge(body, "machine", type=machine, nodes=nodes)
    for name, value in (("job_label", label), ("job_project", project)):
        if value is not None:
            body[name] = value
    if vault is not None:
        body["vault"] = {"name": vault}
    return body


def _merge(body: dict[str, Any], key: str, **options: Any) -> dict[str, Any]:
    part = body.get(key) or {}
    if not isinstance(part, Mapping):
        raise CommandError(Exit.USAGE, f"the file's {key} must be an object")
    merged = {**part, **{name: value for name, value in options.items() if value is not None}}
    body[key] = merged
    return merged


def _choose_machine(client: Client, app: str, command: str | None) -> str:
    fit = list_fit_machines(client, find_app(client, app), command)
    if not fit:
        raise CommandError(Exit.REFUSED, f"no machine of this site fits {app}; `kns app {app}` shows what it wants")
    return fit[0]


def read_pairs(options: Iterable[str] | None, name: str) -> dict[str, str]:
    """
    >>> read_pairs(["cpus=2", "title=a=b"], "--param")
    {'cpus': '2', 'title': 'a=b'}
    """
    pairs = {}
    for option in options or ():
        key, separator, value = option.partition("=")
        if not separator or not key:
            raise CommandError(Exit.USAGE, f"{name} {option}: write KEY=VALUE")
        pairs[key] = value
    return pairs


def read_uploads(options: Iterable[str] | None) -> dict[str, str]:
    """The content of each file in base64, as parameters of type UPLOAD want it."""
    uploads = {}
    for key, path in read_pairs(options, "--upload").items():
        try:
            uploads[key] = base64.b64encode(read_input(path)).decode()
        except OSError as error:
            raise CommandError(Exit.USAGE, f"--upload {key}: cannot read {path}: {error.strerror}") from error
    return uploads
