"""`kns posit`: tools for administrators of Posit Workbench whose jobs kns runs."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from kns.cli.exits import CommandError, Exit
from kns.cli.options import AUTHORS, read_timeout
from kns.cli.preflight_command import report
from kns.cli.report import escape
from kns.cli.screen import Format
from kns.cli.session import find_screen
from kns.model.errors import KnsError

_Arguments = Annotated[
    list[str] | None,
    typer.Option(
        "--plugin-option", "-o", metavar="NAME=VALUE",
        help="An option of the plugin, such as launcher-config-file=/etc/rstudio/launcher.conf. Repeatable.",
    ),
]  # fmt: skip
_Output = Annotated[
    Format | None,
    typer.Option("--output", help="Form of the result.", show_default="table", case_sensitive=False),
]  # without its short form, which is that of the plugin's options here
_Namespace = Annotated[str, typer.Option("--namespace", "-n", help="Namespace of the jobs.")]
_Account = Annotated[str, typer.Option("--service-account", help="Service account of the plugin.")]


def add_posit(app: typer.Typer, load_tools: Callable[[], Any]) -> None:
    """
    Add the commands to `app`. `load_tools` imports `kns.launcher.tools.commands`, which the command line does not do by
    itself: the other commands start without it and without its dependencies.
    """
    posit = typer.Typer(name="posit", help="Tools for the Posit Job Launcher's plugin.", no_args_is_help=True)
    for add in (_add_preflight, _add_rbac, _add_token, _add_run, _add_templates):
        add(posit, load_tools)
    app.add_typer(posit, rich_help_panel=AUTHORS)


def _add_preflight(app: typer.Typer, load_tools: Callable[[], Any]) -> None:
    @app.command()
    def preflight(ctx: typer.Context, options: _Arguments = None, output: _Output = None) -> None:
        """
        Check configuration, token, API, namespace, rights one by one, metrics, images and templates.

        Reads the same files as the plugin and uses its token. Changes nothing. Exit status: 0 no fault, 1 faults.
        """
        report(ctx, output, load_tools().preflight(_write_arguments(options)), count=True)


def _add_rbac(app: typer.Typer, load_tools: Callable[[], Any]) -> None:
    @app.command()
    def rbac(
        ctx: typer.Context,
        role: Annotated[
            str,
            typer.Option(
                "--role", help="minimal: what kns needs. documented: Posit's Role. admin: Posit's older binding."
            ),
        ] = "minimal",
        namespace: _Namespace = "rstudio",
        account: _Account = "job-launcher",
        nodes: Annotated[bool, typer.Option("--nodes/--no-nodes", help="The right to read nodes' addresses.")] = True,
        output: _Output = None,
    ) -> None:
        """
        Print namespace, service account, role and bindings as YAML for `kubectl apply -f -`.
        """
        try:
            text = load_tools().rbac(role, namespace=namespace, account=account, with_nodes=nodes)
        except ValueError:
            raise CommandError(Exit.USAGE, f"--role {role}: use minimal, documented or admin") from None
        screen = find_screen(ctx, output)
        if screen.output is Format.JSON:
            screen.dump(list(yaml.safe_load_all(text)))
        else:
            typer.echo(text, nl=False)


def _add_token(app: typer.Typer, load_tools: Callable[[], Any]) -> None:
    @app.command()
    def token(
        ctx: typer.Context,
        namespace: _Namespace = "rstudio",
        account: _Account = "job-launcher",
        duration: Annotated[
            str | None, typer.Option("--duration", help="A token that expires, such as 9h. Without: one that does not.")
        ] = None,
        file: Annotated[
            Path | None, typer.Option("--file", help="Write it to this file, with mode 0600, instead of printing it.")
        ] = None,
        owner: Annotated[str | None, typer.Option("--owner", help="Owner of the file, such as rstudio-server.")] = None,
        kubeconfig: Annotated[
            Path | None, typer.Option("--kubeconfig", help="An administrator's. KUBECONFIG, ~/.kube/config.")
        ] = None,
        output: _Output = None,
    ) -> None:
        """
        Make a token for auth-token-path. It replaces the recipe with a Secret, which ended with Kubernetes 1.24.

        Repeat the command with --duration and --file before the token expires, for example by cron: the running plugin
        reads the file again.
        """
        tools = load_tools()
        try:
            issued = tools.token(
                namespace=namespace, account=account, duration=duration, file=file, owner=owner,
                kubeconfig=kubeconfig or tools.find_kubeconfig(),
            )  # fmt: skip
        except ValueError as error:
            raise CommandError(Exit.USAGE, f"--duration: {error}") from error
        except KnsError as error:
            raise CommandError(Exit.FAILED, str(error)) from error
        screen = find_screen(ctx, output)
        if screen.output is not Format.TABLE:
            expires = None if issued.expires is None else f"{issued.expires:%Y-%m-%dT%H:%M:%SZ}"
            where = {"token": issued.text} if file is None else {"file": str(file)}
            screen.dump({**where, "expires": expires})
            return
        end = "does not expire" if issued.expires is None else f"expires at {issued.expires:%Y-%m-%d %H:%M} UTC"
        if file is None:
            typer.echo(issued.text)
            screen.note(f"the token {end}")
        else:
            typer.echo(f"wrote {file}; the token {end}")


def _add_run(app: typer.Typer, load_tools: Callable[[], Any]) -> None:
    @app.command(context_settings={"ignore_unknown_options": True})
    def run(
        command: Annotated[list[str], typer.Argument(metavar="COMMAND [ARGUMENT]...", help="What the job runs.")],
        image: Annotated[str | None, typer.Option("--image", help="Container image. Default: the profile's.")] = None,
        user: Annotated[str | None, typer.Option("--user", help="User of the job. Default: you.")] = None,
        name: Annotated[str, typer.Option("--name", help="Name of the job.")] = "kns-posit-run",
        cpus: Annotated[str | None, typer.Option("--cpus", help="Processors, such as 0.5.")] = None,
        mem_mb: Annotated[str | None, typer.Option("--mem-mb", help="Megabytes of memory.")] = None,
        program: Annotated[str | None, typer.Option("--program", help="The plugin's program.")] = None,
        timeout: Annotated[
            float | None,
            typer.Option("--timeout", metavar="SECONDS", parser=read_timeout, help="Seconds to wait for the end."),
        ] = None,
        options: _Arguments = None,
    ) -> None:
        """
        Start the plugin as the Launcher does, run one job, and show its states and its output. Ctrl-C kills the job.

        Exit status: the job's own.
        """
        limits = [("cpuCount", cpus), ("memory", mem_mb)]
        job = {
            "name": name,
            "exe": command[0],
            "args": command[1:],
            "resourceLimits": [{"type": kind, "value": value} for kind, value in limits if value is not None],
            **({"container": {"image": image}} if image else {}),
        }
        try:
            code = load_tools().run(
                job, user=user, program=program, arguments=_write_arguments(options), sinks=_sinks(load_tools()),
                limit_s=timeout,
            )  # fmt: skip
        except KnsError as error:
            raise CommandError(Exit.FAILED, str(error)) from error
        raise typer.Exit(code)


def _sinks(tools: Any) -> Any:
    return tools.Sinks(
        out=lambda text: typer.echo(text, nl=False),
        err=lambda text: typer.echo(text, nl=False, err=True),
        note=lambda text: typer.echo(escape(text), err=True),
    )


def _add_templates(app: typer.Typer, load_tools: Callable[[], Any]) -> None:
    @app.command()
    def templates(
        ctx: typer.Context,
        action: Annotated[str, typer.Argument(metavar="ACTION", help="generate, diff or validate.")],
        scratch_path: Annotated[
            Path | None, typer.Option("--scratch-path", help="Folder of the templates. Default: the plugin's.")
        ] = None,
        verbose: Annotated[bool, typer.Option("--verbose", help="validate: print the YAML of a sample job.")] = False,
        options: _Arguments = None,
        output: _Output = None,
    ) -> None:
        """
        Write the default templates, show what was changed in them, or check them.

        Exit status: 0 done, 1 problems.
        """
        if action not in ("generate", "diff", "validate"):
            raise CommandError(Exit.USAGE, f"{action!r} is not an action; use generate, diff or validate")
        arguments = _write_arguments(options)
        if scratch_path is not None:
            arguments.append(f"--scratch-path={scratch_path.absolute()}")
        screen, lines = find_screen(ctx, output), list[str]()
        say = typer.echo if screen.output is Format.TABLE else lines.append
        try:
            status = load_tools().templates(f"{action}-templates", arguments, say, verbose=verbose)
        except KnsError as error:
            raise CommandError(Exit.FAILED, str(error)) from error
        screen.record({"status": status, "lines": lines})
        raise typer.Exit(status)


def _write_arguments(options: list[str] | None) -> list[str]:
    return [f"--{option.removeprefix('--')}" for option in options or ()]
