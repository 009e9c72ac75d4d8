# Our image with the messages in it.
ARG IMAGE
FROM ${IMAGE}
COPY data /data
