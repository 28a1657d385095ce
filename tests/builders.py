"""
Values for tests. Everything irrelevant has a default, so a call shows only the field that matters.

`a_job().started().exposed(url="https://...").build()`; every step returns a new builder.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from kns.model import names
from kns.model.appdef.appdef import NestedKubernetes
from kns.model.catalog.catalog import Catalog, parse_catalog
from kns.model.catalog.machine import Machine
from kns.model.catalog.vault import AcceptedVault
from kns.model.job.conditions import ConditionType, Reason, with_condition
from kns.model.job.job import (
    EXIT_CODES,
    Accepted,
    DesiredState,
    Job,
    JobSpec,
    JobState,
    JobStatus,
    MachineChoice,
    StopReason,
    Substatus,
    VaultChoice,
)
from kns.model.job.location import Location
from kns.model.site import Site
from kns.settings import build_site, load_settings
from tests.fakes.stores import START

WEB_TARGET = {"service_name": "web", "service_namespace": "default", "service_port": 8080}


def an_appdef(**changes: Any) -> dict[str, Any]:
    """The smallest AppDef as JSON, with top-level keys replaced; None removes a key."""
    appdef = {
        "name": "Hello",
        "description": "Says hello from its own cluster.",
        "author": "kns",
        "licensed": True,
        "appdefversion": 2,
        "appkind": "kns",
        "classifications": ["Uncategorized"],
        "machines": ["kns-*"],
        "vault-types": ["NONE"],
        "commands": {"Hello": a_command()},
        "image": {"type": "image/png", "data": ""},
        **changes,
    }
    return {key: value for key, value in appdef.items() if value is not None}


def a_command(*, nested: Mapping[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """One command of an AppDef; `nested` replaces keys of its `nested_kubernetes`."""
    return {
        "path": "/usr/bin/true",
        "name": "Hello",
        "description": "Start it.",
        "parameters": {},
        "nested_kubernetes": {
            "targets": [WEB_TARGET],
            "templates": [{"name": "web", "type": "kubectl", "path": "web.yml"}],
            **(nested or {}),
        },
        **changes,
    }


def a_loose_appdef() -> dict[str, Any]:
    """A valid AppDef with as many values as possible in types other than the contract's."""
    parameters = {
        "int": {"name": "N", "type": "INT", "min": "0", "max": str(2**63 - 1), "required": "true", "if": "bool"},
        "float": {"type": "FLOAT", "min": "-1.5", "max": 2.0, "precision": "2", "positional": "False"},
        "range": {"type": "RANGE", "min": "", "step": 5, "value": "10", "ifnot": "bool"},
        "text": {"type": None, "min": "low", "odd": "5", "target": 7},
        "choice": {"type": "selection", "values": [1, 2.5, True], "mvalues": [2.0, "x", False]},
        "bool": {"type": "BOOL", "value": "true"},
        "file": {"type": "UPLOAD", "target": "x", "size": 1048576},
    }
    command = a_command(
        parameters=parameters, interactive="True", noconnect="false", url=None, machines=None, scale_max=None,
        variables={"COLOUR": {"inherit": "true"}}, publicip="no", ports=[80, "90/udp"], webshell="true", desktop=None,
        mpirun=True, cmdscript="#!/bin/sh", odd="true",
    )  # fmt: skip
    return {
        **an_appdef(commands={"Zoo": command, "Ant": a_command(ports=80)}, classifications="Data", hints=["x"]),
        "appkind": None,
        "walltime": None,
        "scale_max": 4,
        "variables": {"TOKEN": {"name": "Token", "required": "false", "userowned": "true"}},
    }


def an_app(appdef: Mapping[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """An entry of the app catalogue as JSON."""
    return {"repo": "registry.example.org/apps/hello:1", "data": dict(appdef or an_appdef()), **changes}


def a_catalog(
    *,
    apps: Mapping[str, Any] | None = None,
    users: Mapping[str, Any] | None = None,
    machines: Mapping[str, Any] | None = None,
) -> Catalog:
    """
    The demo catalogue: user1 and user2 in the team of payer1, lead1 its admin, user3 alone, idle1 without billing,
    admin1. A key is always `key-<username>`.
    """
    return parse_catalog(catalog_files(apps=apps, users=users, machines=machines))


def catalog_files(
    *,
    apps: Mapping[str, Any] | None = None,
    users: Mapping[str, Any] | None = None,
    machines: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The same as decoded files."""
    team = {"payer": "payer1"}
    accounts: dict[str, Any] = {
        "user1": {**team, "projects": ["alpha"]},
        "user2": team,
        "lead1": {**team, "team_admin": True},
        "payer1": {},
        "user3": {},
        "idle1": {"active": False},
        "admin1": {"admin": True},
        **(users or {}),
    }
    return {
        "users.json": {name: {"apikey": f"key-{name}", **data} for name, data in accounts.items()},
        "machines.json": {
            "kns-small": {"mc_cores": 2, "mc_ram": 4, "mc_scale_max": 4, "mc_properties": "appkind=kns"},
            "kns-large": {"mc_cores": "8", "mc_ram": "32", "mc_privs": "", "mc_properties": "appkind=kns,pool=big"},
            "kns-classic": {"mc_cores": 4, "mc_ram": 8},
            **(machines or {}),
        },
        "vaults.json": {"user1": {"data": {"type": "nfs", "address": "nfs.example.org:/data"}}},
        **{
            f"apps/{app_id}.json": app
            for app_id, app in {
                "hello": an_app(),
                "secret": an_app(public=False, owner_name="user1"),
                **(apps or {}),
            }.items()
        },
    }


def a_site(**changes: Any) -> Site:
    """The site of an installation that sets no variable, with the fields in `changes` replaced."""
    site = build_site(load_settings({}), service_cidr="10.96.0.0/16", installation_uid="uid-of-kns")
    return replace(site, **{"init_image": "registry.example.org/kns-init:1", **changes})


def a_submission(*, user: str = "user1", **changes: Any) -> dict[str, Any]:
    """A body of `submit` that is accepted; None removes a key."""
    body = {
        "app": "hello",
        "application": {"command": "Hello"},
        "machine": {"type": "kns-small", "nodes": 1},
        "user": {"username": user, "apikey": f"key-{user}"},
        **changes,
    }
    return {key: value for key, value in body.items() if value is not None}


@dataclass(frozen=True)
class JobBuilder:
    """Builds a job. A new builder gives a job that was submitted at `START`, is accepted, and has not started."""

    number: int = 7
    user: str = "user1"
    payer: str = "payer1"
    nested: tuple[tuple[str, Any], ...] = ()
    accepted: tuple[tuple[str, Any], ...] = ()
    spec: tuple[tuple[str, Any], ...] = ()
    status: JobStatus = field(default_factory=JobStatus)
    is_accepted: bool = True
    deleting: bool = False
    finalizers: tuple[str, ...] = (names.FINALIZER,)

    def numbered(self, number: int) -> "JobBuilder":
        return replace(self, number=number)

    def owned_by(self, user: str, *, payer: str | None = None) -> "JobBuilder":
        return replace(self, user=user, payer=payer or self.payer)

    def labelled(self, label: str) -> "JobBuilder":
        return self.with_spec(label=label)

    def with_spec(self, **changes: Any) -> "JobBuilder":
        return replace(self, spec=(*self.spec, *changes.items()))

    def with_accepted(self, **changes: Any) -> "JobBuilder":
        return replace(self, accepted=(*self.accepted, *changes.items()))

    def with_nested(self, **changes: Any) -> "JobBuilder":
        """Keys of `nested_kubernetes`, as the AppDef writes them."""
        return replace(self, nested=(*self.nested, *changes.items()))

    def with_status(self, **changes: Any) -> "JobBuilder":
        return replace(self, status=self.status.model_copy(update=changes))

    def without_target(self) -> "JobBuilder":
        return self.with_nested(targets=[]).with_accepted(connectable=False)

    def with_vault(self, *, readonly: bool = False) -> "JobBuilder":
        """The vault `data` of the demo catalogue's user1."""
        vault = AcceptedVault(server="nfs.example.org", share="/data", readonly=readonly, storage_class="user1-data")
        return self.with_spec(vault=VaultChoice(name="data", readonly=readonly)).with_accepted(vault=vault)

    def not_accepted(self) -> "JobBuilder":
        """As applied by hand, before the leader accepts it."""
        return replace(self, is_accepted=False)

    def spawning(self, *, at_s: float = 1) -> "JobBuilder":
        return self.with_status(spawn_start_time=_at(at_s), substatus=Substatus.SPAWNING)

    def started(self, *, at_s: float = 30) -> "JobBuilder":
        """The virtual cluster runs since `at_s` seconds after `START`; templates are being deployed."""
        spawned = self if self.status.spawn_start_time else self.spawning()
        return spawned.with_status(
            job_status=JobState.PROCESSING, start_time=_at(at_s), substatus=Substatus.DEPLOYING
        ).condition(ConditionType.VIRTUAL_CLUSTER_READY, at_s=at_s)

    def exposed(self, *, url: str | None = "https://kns-job-7.jobs.example.org", at_s: float = 40) -> "JobBuilder":
        """It can be reached at `url`; None for a job without a target."""
        running = self if self.status.start_time else self.started()
        address = url.split("//")[1].split("/")[0].split(":")[0] if url else None
        return running.with_status(url=url, address=address, substatus=Substatus.NONE).condition(
            ConditionType.EXPOSED, at_s=at_s, reason=Reason.OK if url else Reason.NO_TARGET
        )

    def resting(self, reason: Reason, message: str = "", *, sleep: bool = True, at_s: float = 50) -> "JobBuilder":
        """It serves, and is or was asleep. `sleep`: it shall be."""
        serving = self if self.status.has_been_exposed else self.exposed()
        conditions = with_condition(
            serving.status.conditions,
            ConditionType.ASLEEP,
            true=reason in (Reason.FALLING_ASLEEP, Reason.ASLEEP),
            reason=reason,
            message=message,
            now=_at(at_s),
        )
        return serving.with_status(conditions=conditions).with_spec(sleep=sleep)

    def stopping(self, reason: StopReason | None = StopReason.SHUTDOWN) -> "JobBuilder":
        return self.with_spec(desired_state=DesiredState.STOPPED, stop_reason=reason)

    def ended(self, state: JobState = JobState.COMPLETED, *, at_s: float = 100) -> "JobBuilder":
        return self.with_status(
            job_status=state, exit_code=EXIT_CODES[state], end_time=_at(at_s), substatus=Substatus.NONE
        ).condition(ConditionType.ENDED, at_s=at_s)

    def removed(self, *, at_s: float = 110) -> "JobBuilder":
        return self.condition(ConditionType.REMOVED, at_s=at_s)

    def deleted(self) -> "JobBuilder":
        """Somebody asked for the record's deletion; the finalizer still holds it."""
        return replace(self, deleting=True)

    def condition(
        self, kind: ConditionType, *, at_s: float = 0, true: bool = True, reason: Reason = Reason.OK
    ) -> "JobBuilder":
        conditions = with_condition(self.status.conditions, kind, true=true, reason=reason, now=_at(at_s))
        return self.with_status(conditions=conditions)

    def build(self) -> Job:
        return Job(
            record=names.job_object_name(self.number),
            uid=f"uid-of-{self.number}",
            resource_version="1",
            generation=1,
            created=START,
            deleting=self.deleting,
            finalizers=self.finalizers,
            spec=self._build_spec(),
            status=self.status,
        )

    def _build_spec(self) -> JobSpec:
        spec = JobSpec(
            user=self.user,
            app="hello",
            command="Hello",
            machine=MachineChoice(type="kns-small"),
            submission={"app": "hello", "machine": {"type": "kns-small", "nodes": 1}, "user": {"username": self.user}},
            accepted=self._build_accepted() if self.is_accepted else None,
        )
        return spec.model_copy(update=dict(self.spec))

    def _build_accepted(self) -> Accepted:
        nested = a_command(nested=dict(self.nested))["nested_kubernetes"]
        accepted = Accepted(
            number=self.number,
            name=f"20260105141530-{self.number:05d}-hello-{self.user}_s1",
            payer=self.payer,
            submit_time=START,
            image="registry.example.org/apps/hello:1",
            command="Hello",
            machine=Machine(mc_name="kns-small", mc_cores=2, mc_ram=4, mc_scale_max=4, mc_properties="appkind=kns"),
            nested=NestedKubernetes.model_validate(nested),
        )
        return accepted.model_copy(update=dict(self.accepted))


def a_job() -> JobBuilder:
    return JobBuilder()


def a_location(number: int = 7) -> Location:
    """Where job `number` runs on the host."""
    return Location(number, names.job_object_name(number))


def _at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)
