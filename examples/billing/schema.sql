-- A shop's books: orders, which change, and ledger entries, which never do.
--
--   psql "$BILLING" -f examples/billing/schema.sql

CREATE TABLE orders (
    id       bigint PRIMARY KEY,
    customer text NOT NULL,
    status   text NOT NULL CHECK (status IN ('open', 'paid', 'refunded')),
    total    numeric(12, 2) NOT NULL,
    placed   timestamptz NOT NULL,
    changed  timestamptz NOT NULL
);

-- What was paid and paid back. `created_at` is when the writing transaction began, and nothing is ever
-- changed or deleted; the trigger sees to it.
CREATE TABLE ledger_entries (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    order_id   bigint NOT NULL,
    kind       text NOT NULL CHECK (kind IN ('payment', 'refund', 'fee')),
    amount     numeric(12, 2) NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ledger_entries_by_time ON ledger_entries (created_at);

CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'entries of the ledger are never changed'; END $$;
CREATE TRIGGER ledger_entries_stay BEFORE UPDATE OR DELETE ON ledger_entries
    FOR EACH STATEMENT EXECUTE FUNCTION refuse();

-- Who reads: nothing but these tables, and other users' transactions, for which a run must wait.
CREATE ROLE tidegate LOGIN PASSWORD 'tidegate';
GRANT SELECT ON orders, ledger_entries TO tidegate;
GRANT pg_read_all_stats TO tidegate;
