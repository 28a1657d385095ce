# An API server for the test of the aggregation layer.
ARG BASE_IMAGE=docker.io/library/debian:bookworm-slim
FROM ${BASE_IMAGE}
COPY sample-apiserver /sample-apiserver
ENTRYPOINT ["/sample-apiserver"]
