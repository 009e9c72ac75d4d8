# One static program and the authorities it trusts: no shell, no libraries, no base image to pull.
# scripts/image.sh lays out the context; any builder does, the classic one too.
FROM scratch
ARG VERSION=unknown
LABEL org.opencontainers.image.title="tidegate" \
      org.opencontainers.image.description="Exactly-once ingestion from NATS JetStream into Delta tables" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY tidegate /tidegate
# A number, so that Kubernetes can see that it is not root.
USER 65532:65532
ENTRYPOINT ["/tidegate"]
