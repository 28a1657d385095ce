# The scheduler image. Build context: the root of the repository.
#
# TOOLS_IMAGE may name an image that holds ready-made /helm and /vcluster-0.36.1.tgz; by default both are made from the
# same pinned modules as the testbed's.
ARG BASE_IMAGE=docker.io/library/debian:bookworm-slim
ARG GO_IMAGE=docker.io/library/golang:1.26-bookworm
ARG TOOLS_IMAGE=tools-from-source

FROM ${GO_IMAGE} AS tools-from-source
ENV CGO_ENABLED=0
WORKDIR /src/helm
COPY testbed/go/helm/go.mod testbed/go/helm/go.sum ./
# The Kubernetes version is what `helm template` assumes without a cluster: 1.20 if it is not told.
RUN set -eu; \
    minor="$(go list -m -f '{{.Version}}' k8s.io/client-go)"; minor="${minor#v0.}"; minor="${minor%%.*}"; \
    flags="-s -w"; \
    for package in chartutil lint/rules; do \
        flags="${flags} -X helm.sh/helm/v3/pkg/${package}.k8sVersionMajor=1"; \
        flags="${flags} -X helm.sh/helm/v3/pkg/${package}.k8sVersionMinor=${minor}"; \
    done; \
    go build -trimpath -ldflags "${flags}" -o /helm helm.sh/helm/v3/cmd/helm
WORKDIR /src/kubernetes
COPY testbed/go/kubernetes/go.mod testbed/go/kubernetes/go.sum ./
# The chart in the source tree carries a placeholder version.
RUN set -eu; \
    go mod download github.com/loft-sh/vcluster; \
    version="$(go list -m -f '{{.Version}}' github.com/loft-sh/vcluster)"; \
    /helm package "$(go list -m -f '{{.Dir}}' github.com/loft-sh/vcluster)/chart" \
        --version "${version#v}" --app-version "${version#v}" --destination /

FROM ${TOOLS_IMAGE} AS tools

FROM ${BASE_IMAGE} AS build
# Where pip finds the certificates of a registry behind a proxy; nothing by default.
ARG PIP_CERT
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/kns
COPY requirements.lock /src/
RUN /opt/kns/bin/pip install --no-cache-dir --disable-pip-version-check --require-virtualenv -r /src/requirements.lock
COPY pyproject.toml README.md LICENSE /src/
COPY kns /src/kns
RUN /opt/kns/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps /src \
    && /opt/kns/bin/pip uninstall --yes pip setuptools \
    # The asynchronous twin of the Kubernetes client is half of its size, and kns never imports it.
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
