"""A job with every field, to try templates with."""

from types import MappingProxyType
from typing import Any

from kns.launcher.ports import Names, Profile
from kns.launcher.templates.fields import build_fields
from kns.launcher.templates.folder import SERVICE
from kns.plain.job import (
    Constraint,
    Container,
    Mount,
    PlainJob,
    Port,
    Protocol,
    Resources,
    SecretVariable,
    Variable,
)

JOB_ID = "sample-user-sample-job-x7k2p"
NAMES = Names(
    generate_name="sample-user-sample-job-",
    cluster="Kubernetes",
    service_ports_json='[{"protocol":"TCP","targetPort":8787},{"protocol":"UDP","targetPort":6000}]',
)

SAMPLE = PlainJob(
    name="Sample job",
    user="sample-user",
    container=Container("registry.example.org/r-session:4.5", 1001, 1001, (2001, 2002)),
    command="echo $HOME",
    args=("one", "two words"),
    environment=(Variable("R_LIBS_USER", "/home/sample-user/R"), Variable("LINES", "first\nsecond")),
    secrets=(SecretVariable("DB_PASSWORD", "db", "password"),),
    stdin="#!/bin/sh\necho 'read from stdin'\n",
    working_directory="/home/sample-user",
    host="node-1.example.org",
    ports=(Port(8787), Port(6000, None, Protocol.UDP), Port(5559, 30559)),
    mounts=(
        Mount(
            "/home/sample-user",
            MappingProxyType({"nfs": {"server": "nfs.example.org", "path": "/home/sample-user"}}),
            given=MappingProxyType({"type": "nfs", "source": {"host": "nfs.example.org", "path": "/home/sample-user"}}),
        ),
        Mount(
            "/data",
            MappingProxyType({"persistentVolumeClaim": {"claimName": "data", "readOnly": True}}),
            read_only=True,
            given=MappingProxyType({"type": "passthrough", "source": {"claimName": "data"}, "readOnly": True}),
        ),
    ),
    resources=Resources(
        MappingProxyType({"cpu": "2", "memory": "1024M", "nvidia.com/gpu": "1"}),
        MappingProxyType({"cpu": "1", "memory": "512M"}),
    ),
    constraints=(Constraint("region", "us"),),
    tags=("rstudio-r-session", "sample tag"),
    extras=MappingProxyType(
        {
            "resourceLimits": [
                {"type": "cpuCount", "value": "2"},
                {"type": "memory", "value": "1024"},
                {"type": "NVIDIA GPUs", "value": "1"},
                {"type": "CPU Request", "value": "1"},
                {"type": "Memory Request", "value": "512"},
            ],
            "config": [{"name": "secret", "value": "db:password:DB_PASSWORD"}],
        }
    ),
)
PROFILE = Profile(cpu_request_ratio=0.5, memory_request_ratio=0.5)


def sample_fields(file: str) -> dict[str, Any]:
    """`.Job` of the sample for a template."""
    if file == SERVICE:
        return build_fields(SAMPLE, NAMES, None, job_id=JOB_ID, service=JOB_ID)
    return build_fields(SAMPLE, NAMES, PROFILE)
