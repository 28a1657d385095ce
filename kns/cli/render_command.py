"""`kns render`: all manifests of a job as YAML, without a cluster."""

import json
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import typer
import yaml

from kns.cli.exits import CommandError, Exit
from kns.cli.options import AUTHORS, Output
from kns.cli.screen import Format
from kns.cli.session import get_session
from kns.cli.submission_file import read_file
from kns.cli.submit import (
    CommandOption,
    Label,
    Nodes,
    Parameters,
    Project,
    SubmissionFile,
    Uploads,
    Vault,
    Walltime,
    merge_options,
    read_pairs,
    read_uploads,
)
from kns.model.errors import KnsError

RenderJob = Callable[..., Iterator[tuple[str, str, dict[str, Any]]]]


def add_render(app: typer.Typer, render_job: RenderJob) -> None:
    """Add the command to `app`. `render_job` is a parameter, because the command line imports neither settings."""

    @app.command(rich_help_panel=AUTHORS)
    def render(
        ctx: typer.Context,
        wanted: Annotated[str | None, typer.Argument(metavar="APP", help="Id of the app.", show_default=False)] = None,
        user: Annotated[
            str, typer.Option("--user", "-u", metavar="NAME", help="The account that submits it.", show_default=False)
        ] = "",
        machine: Annotated[
            str | None, typer.Option("--machine", "-m", metavar="NAME", help="The machine; needed.")
        ] = None,
        file: SubmissionFile = None,
        param: Parameters = None,
        upload: Uploads = None,
        nodes: Nodes = None,
        command: CommandOption = None,
        walltime: Walltime = None,
        label: Label = None,
        project: Project = None,
        vault: Vault = None,
        number: Annotated[int, typer.Option("--number", min=1, help="The job's number.")] = 1,
        chart: Annotated[
            bool, typer.Option("--chart/--no-chart", help="With the objects of the vcluster chart.")
        ] = True,
        output: Output = None,
    ) -> None:
        """
        Print all manifests of a job, and make nothing. It needs no cluster and no account.

        It reads settings (variables) and catalogue as the scheduler does, and needs helm and the chart for the objects
        of vcluster. What only a cluster knows has a placeholder, and Secrets have no values.
        """
        if not user:
            raise CommandError(Exit.USAGE, "as which user? give --user, an account of the catalogue")
        body = merge_options(
            read_file(file) if file is not None else {},
            app=wanted,
            parameters={**read_pairs(param, "--param"), **read_uploads(upload)},
            machine=machine,
            nodes=nodes,
            command=command,
            walltime=walltime,
            label=label,
            project=project,
            vault=vault,
        )
        if not body["machine"].get("type"):
            raise CommandError(Exit.USAGE, "on which machine? give --machine, one of the catalogue")
        screen = get_session(ctx).screen_for(output)
        try:
            with screen.busy("rendering"):
                manifests = list(render_job(body, user=user, number=number, chart=chart))
        except KnsError as error:
            raise CommandError(Exit.REFUSED, str(error)) from error
        if screen.output is Format.JSON:
            screen.dump([{"place": place, "stage": stage, "object": content} for place, stage, content in manifests])
            return
        for place, stage, content in manifests:
            where = "on the host cluster" if place == "host" else "in the job's own cluster"
            plain = json.loads(json.dumps(content))  # YAML would write equal parts as references
            text = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=1000)
            typer.echo(f"---\n# stage {stage}, {where}\n{text}", nl=False)
