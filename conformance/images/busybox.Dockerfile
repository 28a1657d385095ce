# busybox, with bash as its shell. Debian's busybox is older than the official image's, and its shell drops variables of
# the environment whose names are no identifiers, such as `data-1`, which tests set.
ARG BASE_IMAGE=docker.io/library/debian:bookworm-slim
FROM ${BASE_IMAGE}
RUN apt-get update \
    && apt-get install --yes --no-install-recommends busybox-static \
    && rm -rf /var/lib/apt/lists/* \
    && ln -sf bash /bin/sh \
    && for applet in $(busybox --list); do \
        command -v "$applet" >/dev/null || ln -s /bin/busybox "/usr/bin/$applet"; \
    done
CMD ["sh"]
