# The image that most tests start: agnhost itself, and the programs that tests run in it. The official image has Alpine
# as its base and an old CoreDNS, which no conformance test uses.
ARG BASE_IMAGE=docker.io/library/debian:bookworm-slim
FROM ${BASE_IMAGE}
RUN apt-get update \
    && apt-get install --yes --no-install-recommends \
        bind9-dnsutils curl iperf iproute2 iputils-ping netcat-openbsd procps util-linux \
    && rm -rf /var/lib/apt/lists/*
# A test of supplemental groups expects these.
RUN useradd --uid 1000 --no-create-home user-defined-in-image \
    && groupadd --gid 50000 group-defined-in-image \
    && usermod --append --groups group-defined-in-image user-defined-in-image
RUN mkdir /uploads
COPY localhost.crt localhost.key /
COPY agnhost /agnhost
# A second name, by which tests see that a container's command replaces the entrypoint.
RUN ln -s agnhost /agnhost-2
EXPOSE 80 8080 8081 9376 5000
ENTRYPOINT ["/agnhost"]
CMD ["pause"]
