# PostgreSQL as tests/e2e/postgres-files.sh lays it out.
FROM scratch
COPY . /
USER 26
ENV PATH=/pg:/bin PGDATA=/data/db PGUSER=postgres
