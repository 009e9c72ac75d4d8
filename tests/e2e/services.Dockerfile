# The broker and the S3 server of the other tests, and the data of the publishing Jobs: static programs.
FROM scratch
COPY nats-server weed /
