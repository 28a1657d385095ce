# The scheduler image. Build context: the root of the repository.
#
# TOOLS_IMAGE may name an image with a prebuilt /helm and /vcluster-0.36.1.tgz. By default both are built from the Go
# module that pins the testbed's programs.
ARG BASE_IMAGE=docker.io/library/debian:bookworm-slim
ARG GO_IMAGE=docker.io/library/golang:1.26-bookworm
ARG TOOLS_IMAGE=tools-from-source

FROM ${GO_IMAGE} AS tools-from-source
ENV CGO_ENABLED=0
WORKDIR /src
COPY testbed/go/go.mod testbed/go/go.sum ./
# Sets the Kubernetes version that `helm template` assumes without a cluster; the default would be 1.20.
RUN set -eu; \
    minor="$(go list -m -f '{{with .Replace}}{{.Version}}{{else}}{{.Version}}{{end}}' k8s.io/client-go)"; \
    minor="${minor#v0.}"; minor="${minor%%.*}"; \
    flags="-s -w"; \
    for package in chartutil lint/rules; do \
        flags="${flags} -X helm.sh/helm/v3/pkg/${package}.k8sVersionMajor=1"; \
        flags="${flags} -X helm.sh/helm/v3/pkg/${package}.k8sVersionMinor=${minor}"; \
    done; \
    go build -trimpath -ldflags "${flags}" -o /helm helm.sh/helm/v3/cmd/helm
# The chart in the source tree carries a placeholder version.
RUN set -eu; \
    go mod download github.com/loft-sh/vcluster; \
    version="$(go list -m -f '{{.Version}}' github.com/loft-sh/vcluster)"; \
    /helm package "$(go list -m -f '{{.Dir}}' github.com/loft-sh/vcluster)/chart" \
        --version "${version#v}" --app-version "${version#v}" --destination /

FROM ${TOOLS_IMAGE} AS tools

FROM ${BASE_IMAGE} AS build
# Path of the CA bundle that pip trusts, for a package index behind a proxy. By default pip uses its own.
ARG PIP_CERT
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1
# The build tools have an environment of their own, which stays out of the image. All packages are pinned by hash, and
# wheels only: a source distribution would download build tools that nothing pins.
RUN python3 -m venv /opt/build && python3 -m venv /opt/kns
COPY requirements.lock requirements-build.lock /src/
RUN /opt/build/bin/pip install --require-hashes --only-binary :all: -r /src/requirements-build.lock \
    && /opt/kns/bin/pip install --require-hashes --only-binary :all: -r /src/requirements.lock
COPY pyproject.toml README.md LICENSE /src/
COPY kns /src/kns
RUN /opt/build/bin/pip wheel --no-index --no-deps --no-build-isolation --wheel-dir /opt/wheel /src \
    && /opt/kns/bin/pip install --no-index --no-deps /opt/wheel/kns-*.whl \
    && /opt/kns/bin/pip uninstall --yes pip setuptools \
    # kns never imports the asynchronous variant of the Kubernetes client, which is half of the package.
    && rm -rf /opt/kns/lib/python3*/site-packages/kubernetes/aio

FROM ${BASE_IMAGE}
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates python3 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=tools /helm /usr/local/bin/helm
COPY --from=tools /vcluster-0.36.1.tgz /usr/share/kns/vcluster-0.36.1.tgz
COPY --from=build /opt/kns /opt/kns
ENV PATH=/opt/kns/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
EXPOSE 8080 9090
ENTRYPOINT ["python", "-m", "kns"]
