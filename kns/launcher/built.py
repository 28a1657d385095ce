"""The renderer without templates: the pure builders of `kns.plain`, and the profile's JSON overrides."""

from kns.launcher.config.pointer import apply_overrides
from kns.launcher.ports import Names, Object, Profile
from kns.plain.job import PlainJob
from kns.plain.objects import build_job, build_service


class BuiltObjects:
    """Implements `kns.launcher.ports.Renderer`."""

    def render_job(self, job: PlainJob, names: Names, profile: Profile) -> Object:
        obj = build_job(job, generate_name=names.generate_name)
        return apply_overrides(obj, profile.json_overrides)

    def render_service(self, job: PlainJob, names: Names, *, job_id: str, service: str) -> Object:
        del names
        return build_service(job, job_id=job_id, service=service)
