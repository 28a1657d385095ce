"""
The images of the cluster: made from our programs or built from Dockerfiles, and pushed to the local registry.

They have the names of the upstream images, so that manifests and values are tested as users run them. An image is made
again only if its inputs changed or the registry lost it.
"""

import functools
import hashlib
import os
import pathlib
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from testbed import base_image, binaries, dockerfile, layers, layout, modules, paths, records, registry
from testbed.commands import run, run_long
from testbed.registry import Config, Reference

BASE_IMAGE = "docker.io/library/debian:bookworm-slim"
TOOLS_IMAGE = "localhost/kns-tools:v1"
CA_BUNDLE = pathlib.Path("/etc/ssl/certs/ca-certificates.crt")
# The mount point of the machine's certificates during a build. Package installs rewrite the usual path, and a folder
# that is not in every image would stay in the built image as an empty mount point.
CA_MOUNT = "/mnt"
CA_VARIABLES = {"PIP_CERT", "SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "GIT_SSL_CAINFO"}
PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


@dataclass(frozen=True, slots=True)
class Image:
    """
    An image made of programs: where each goes, and how it starts. `also` has further names for the same content.
    """

    name: str
    files: Mapping[str, str] = field(default_factory=dict)
    config: Config = field(default_factory=Config)
    with_shell: bool = False
    also: tuple[str, ...] = ()


_OWN_PROGRAMS = {"pause": "pause.c", "alpine-sh": "alpine-sh.sh"}
# The nonroot user of the distroless images.
_NONROOT = "65532:65532"

IMAGES: tuple[Image, ...] = (
    Image("registry.k8s.io/pause:3.10", {"/pause": "pause"}, Config(("/pause",), user="65535:65535")),
    Image("docker.io/coredns/coredns:1.14.2", {"/coredns": "coredns"}, Config(("/coredns",), user=_NONROOT)),
    Image(
        "docker.io/library/busybox:1.35",
        config=Config(command=("sh",)),
        with_shell=True,
        also=("docker.io/library/busybox:latest",),
    ),
    # What vcluster rewrites a pod's /etc/hosts with.
    Image(
        "mirror.gcr.io/library/alpine:3.20",
        {"/usr/local/bin/sh": "alpine-sh"},
        Config(command=("sh",)),
        with_shell=True,
    ),
    Image(
        "docker.io/rancher/local-path-provisioner:v0.0.30",
        {"/usr/bin/local-path-provisioner": "local-path-provisioner"},
        Config(command=("local-path-provisioner",)),
        with_shell=True,
    ),
    Image(
        "registry.k8s.io/metrics-server/metrics-server:v0.9.0",
        {"/metrics-server": "metrics-server"},
        Config(("/metrics-server",), user="65534"),
    ),
    Image(
        "docker.io/library/traefik:v3.6.6",
        {"/usr/local/bin/traefik": "traefik"},
        Config(("/usr/local/bin/traefik",)),
        with_shell=True,
    ),
    Image(
        "ghcr.io/loft-sh/vcluster-oss:0.36.1",
        {"/vcluster": "vcluster"},
        Config(("/vcluster", "start")),
        with_shell=True,
    ),
    # Only the files that a virtual cluster copies out of it, and a shell with `cp` for its init container.
    Image(
        "ghcr.io/loft-sh/kubernetes:v1.36.3",
        {
            "/kubernetes/kube-apiserver": "kube-apiserver",
            "/kubernetes/kube-controller-manager": "kube-controller-manager",
            "/kubernetes/kine": "kine",
        },
        Config(command=("sh",)),
        with_shell=True,
    ),
    Image(
        TOOLS_IMAGE,
        {"/kubectl": "kubectl", "/helm": "helm", "/gotty": "gotty", "/vcluster-0.36.1.tgz": "vcluster-chart"},
    ),
)


def ensure_image(image: Image) -> str:
    """
    Make and push an image of programs. Returns what was done.
    """
    key = _key(repr(image), *(str(_source(name)) for name in image.files.values()), layers.BUSYBOX)

    def write(target: pathlib.Path) -> None:
        files = {path: _source(name) for path, name in image.files.items()}
        layers.write_layer(target, files, with_shell=image.with_shell)

    return _ensure(image.name, key, write, image.config, also=image.also)


def prepare_base_layer(tick: Callable[[str], None]) -> None:
    """
    Write the layer of the base image into the cache, unless the image was made already.
    """
    if records.read(_record(BASE_IMAGE)).get("key") != _base_key():
        _ensure_base_layer(tick)


def ensure_base_image(tick: Callable[[str], None]) -> str:
    """
    Make and push the base image of our Dockerfiles. Returns what was done.
    """

    def write(target: pathlib.Path) -> None:
        _ensure_base_layer(tick)
        _base_layer().replace(target)

    return _ensure(BASE_IMAGE, _base_key(), write, Config(command=("bash",)))


def ensure_own_programs() -> None:
    """
    Compile or copy the programs whose source is beside this file.
    """
    for name, file in _OWN_PROGRAMS.items():
        target, source = _source(name), paths.SOURCE / file
        if target.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_suffix(".tmp")
        if source.suffix == ".c":
            run(["gcc", "-Os", "-static", "-s", "-o", draft, source])
        else:
            shutil.copy(source, draft)
        draft.replace(target)


def ensure_chart(go: Callable[[], pathlib.Path]) -> None:
    """
    Package vcluster's chart from the source of its Go module, with its real version.

    Args:
        go: returns the Go command; called only if the chart is missing.
    """
    target = _source("vcluster-chart")
    if target.exists():
        return
    source = modules.ensure(go()) / "github.com/loft-sh/vcluster" / "chart"
    draft = target.parent / "draft"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    version = layout.VCLUSTER_VERSION
    argv: list[str | pathlib.Path] = [
        paths.binary("helm"),
        "package",
        source,
        "--version",
        version,
        "--app-version",
        version,
    ]
    run([*argv, "--destination", draft], env={"HOME": str(draft), "PATH": "/usr/bin:/bin"})
    (draft / f"vcluster-{version}.tgz").replace(target)
    shutil.rmtree(draft)


def load_image(archive: pathlib.Path) -> list[str]:
    """
    Push all images of a Docker or OCI archive to the registry. Returns their names.

    Raises:
        TestbedError: the file is not an image archive, or its images have no names.
    """
    names = dockerfile.archive_names(archive)
    for transport, name in names:
        source = f"{transport}:{archive}:{name}"
        argv = [
            "skopeo",
            "copy",
            "--dest-tls-verify=false",
            source,
            f"docker://{Reference.parse(name).local}",
        ]
        run(argv, timeout_s=600)
    return [name for _, name in names]


def build_image(
    tag: str,
    dockerfile_path: pathlib.Path,
    context: pathlib.Path,
    build_args: Mapping[str, str] | None = None,
    tick: Callable[[str], None] = lambda _: None,
) -> str:
    """
    Build an image from a Dockerfile with buildah and push it to the registry. Returns a line that says what was done.

    Args:
        tag: the image's full name; the cluster pulls the image by the path of that name.
        build_args: as for `docker build --build-arg`.

    Raises:
        TestbedError: the build failed; the message ends with its output.
    """
    started = time.monotonic()
    arguments = {"BASE_IMAGE": BASE_IMAGE, "TOOLS_IMAGE": TOOLS_IMAGE, **(build_args or {})}
    reference = Reference.parse(tag)
    bases = [f"{name}@{registry.digest(Reference.parse(name))}" for name in (BASE_IMAGE, TOOLS_IMAGE)]
    content = dockerfile.context_hash(context, dockerfile_path)
    key = _key(tag, content, repr(sorted(arguments.items())), *bases)
    record = _record(tag)
    if _is_current(record, key, reference):
        return f"{tag}: unchanged, {_mib(registry.size_bytes(reference))}"
    for name in (BASE_IMAGE, TOOLS_IMAGE):
        _pull_into_buildah(name)
    log = paths.BUILD_LOGS / f"image-{_file_name(tag)}.log"
    argv = [
        *_buildah(),
        "bud",
        *_build_options(dockerfile.declared_arguments(dockerfile_path)),
        "--tag",
        tag,
        "--file",
        str(dockerfile_path),
    ]
    for name, value in arguments.items():
        argv += ["--build-arg", f"{name}={value}"]
    run_long([*argv, str(context)], log=log, tick=tick)
    push = [*_buildah(), "push", "--tls-verify=false", "--disable-compression", "--quiet", tag]
    run([*push, f"docker://{reference.local}"], timeout_s=600)
    records.write(record, {"key": key, "digest": registry.digest(reference) or ""})
    return f"{tag}: built in {time.monotonic() - started:.1f}s, {_mib(registry.size_bytes(reference))}"


def _build_options(declared: set[str]) -> list[str]:
    bundle = paths.IMAGES / "build-mount" / CA_BUNDLE.name
    bundle.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(CA_BUNDLE, bundle)
    # chroot isolation needs no container runtime. Base images are those that `_pull_into_buildah` put there.
    options = ["--isolation", "chroot", "--pull-never", "--layers"]
    options += ["--volume", f"{bundle.parent}:{CA_MOUNT}:ro"]
    # As build arguments, because environment variables would stay in the image and point to a missing file.
    for variable in sorted(declared & CA_VARIABLES):
        options += ["--build-arg", f"{variable}={CA_MOUNT}/{CA_BUNDLE.name}"]
    # Without a value, buildah takes that of the environment. A proxy's URL may have a password, and command lines are
    # shown to every user of the machine and in messages.
    for proxy in PROXIES:
        if os.environ.get(proxy):
            options += ["--build-arg", proxy]
    return options


def _pull_into_buildah(name: str) -> None:
    reference = Reference.parse(name)
    wanted = registry.digest(reference)
    record = paths.BUILDAH / f"{_file_name(name)}.json"
    present = run([*_buildah(), "images", "--quiet", name], check=False).returncode == 0
    if present and records.read(record).get("digest") == wanted:
        return
    run(
        [*_buildah(), "pull", "--quiet", "--policy", "always", "--tls-verify=false", f"docker://{reference.local}"],
        timeout_s=300,
    )
    run([*_buildah(), "tag", reference.local, name])
    records.write(record, {"digest": wanted or ""})


def _buildah() -> list[str]:
    storage = [f"--root={paths.BUILDAH / 'root'}", f"--runroot={paths.RUN / 'buildah'}"]
    return ["buildah", *storage, f"--storage-driver={_storage_driver()}"]


@functools.cache
def _storage_driver() -> str:
    """
    overlay if the kernel and the file system support it, else vfs, which copies layers and is slow.
    """
    argv = ["buildah", f"--root={paths.BUILDAH / 'root'}", f"--runroot={paths.RUN / 'buildah'}"]
    done = run([*argv, "--storage-driver=overlay", "info"], check=False)
    return "overlay" if done.returncode == 0 else "vfs"


def _ensure(
    name: str,
    key: str,
    write: Callable[[pathlib.Path], None],
    config: Config,
    *,
    also: tuple[str, ...] = (),
) -> str:
    names = [Reference.parse(text) for text in (name, *also)]
    record = _record(name)
    if all(_is_current(record, key, reference) for reference in names):
        return "present"
    layer = paths.IMAGES / "layers" / f"{_file_name(name)}.tar"
    try:
        write(layer)
        digests = [registry.push(reference, layer, config) for reference in names]
    finally:
        layer.unlink(missing_ok=True)
    records.write(record, {"key": key, "digest": digests[0]})
    return f"made {_mib(registry.size_bytes(names[0]))}"


def _is_current(record: pathlib.Path, key: str, reference: Reference) -> bool:
    written = records.read(record)
    return written.get("key") == key and written.get("digest") == registry.digest(reference)


def _base_key() -> str:
    return _key(base_image.RECIPE, repr(base_image.FILES))


def _base_layer() -> pathlib.Path:
    return paths.IMAGES / "layers" / f"base-{_base_key()[:16]}.tar"


def _ensure_base_layer(tick: Callable[[str], None]) -> None:
    if not _base_layer().exists():
        draft = _base_layer().with_suffix(".tmp")
        base_image.write_layer(draft, tick)
        draft.replace(_base_layer())


def _source(name: str) -> pathlib.Path:
    """
    The file for a name in the table: a program, one of our own or the chart. Its path has the hash of its content.
    """
    if name in _OWN_PROGRAMS:
        content = (paths.SOURCE / _OWN_PROGRAMS[name]).read_bytes()
        return paths.IMAGES / f"{name}-{hashlib.sha256(content).hexdigest()[:16]}"
    vcluster = next(binary for binary in binaries.BINARIES if binary.name == "vcluster")
    if name == "vcluster-chart":
        return paths.IMAGES / f"chart-{binaries.stored(vcluster).parent.name}.tgz"
    return paths.binary(name).resolve()


def _record(name: str) -> pathlib.Path:
    return paths.IMAGES / "records" / f"{_file_name(name)}.json"


def _file_name(name: str) -> str:
    return name.replace("/", "_").replace(":", "_")


def _key(*parts: object) -> str:
    return hashlib.sha256("\0".join(str(part) for part in parts).encode()).hexdigest()


def _mib(size: int) -> str:
    return f"{size / 2**20:.0f} MiB"
