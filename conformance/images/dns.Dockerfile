# dig and the resolver of the GNU C library.
ARG BASE_IMAGE=docker.io/library/debian:bookworm-slim
FROM ${BASE_IMAGE}
RUN apt-get update \
    && apt-get install --yes --no-install-recommends bind9-dnsutils \
    && rm -rf /var/lib/apt/lists/*
