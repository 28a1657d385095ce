"""The plan: the versioned document that the init image reads. A contract test compares both sides."""

from typing import Any

from kns.model import names
from kns.model.appdef.appdef import NestedKubernetes, TemplateItem

PLAN_VERSION = 2
TEMPLATES_DIR = "/templates"


def build_plan(nested: NestedKubernetes, *, record_uid: str, wait_limit_s: int) -> dict[str, Any]:
    """
    The steps of a job, in order, and what the init pod waits for before the first one: Secret `kns-job` in namespace
    `default` of the virtual cluster has the uid of this job's record in an annotation. `wait_limit_s` ends that wait.

    Shape: `{"version", "templatesDir", "awaits": {"annotation", "value", "limitSeconds"}, "steps": [{"name", "type",
    "retries", "retrySleepSeconds", "path"+"format" | "path" | "cmd"}]}`; see init-image/README.md.
    """
    return {
        "version": PLAN_VERSION,
        "templatesDir": TEMPLATES_DIR,
        "awaits": {"annotation": names.RECORD_UID_ANNOTATION, "value": record_uid, "limitSeconds": wait_limit_s},
        "steps": [_build_step(item, nested) for item in nested.templates],
    }


def _build_step(item: TemplateItem, nested: NestedKubernetes) -> dict[str, Any]:
    settings = nested.templates_settings
    step: dict[str, Any] = {
        "name": item.name,
        "type": item.type,
        "retries": settings.global_retry if item.retry is None else item.retry,
        "retrySleepSeconds": settings.global_retry_sleep if item.retry_sleep is None else item.retry_sleep,
    }
    if item.type == "custom":
        step["cmd"] = item.cmd
    else:
        step["path"] = item.path
    if item.type == "kubectl":
        step["format"] = item.format
    return step
