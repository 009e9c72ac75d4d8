-- Books from a day up to an instant, the same for the same three variables. Without any: 20,000 orders from
-- the beginning of last month up to now.
--
--   psql "$BILLING" -v orders=20000 -v since=2026-05-01 -v until=2026-06-15 -f examples/billing/seed.sql

\if :{?orders}
\else
    \set orders 20000
\endif
\if :{?since}
\else
    SELECT date_trunc('month', now() AT TIME ZONE 'UTC') - interval '1 month' AS since \gset
\endif
\if :{?until}
\else
    \set until now
\endif
SET timezone = 'UTC';

-- A number from 0 to n - 1 that looks like chance and is not.
CREATE OR REPLACE FUNCTION pick(seed bigint, n bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS
$$ SELECT ('x' || substr(md5(seed::text), 1, 15))::bit(60)::bigint % n $$;

BEGIN;
-- Orders come evenly over the time.
INSERT INTO orders (id, customer, status, total, placed, changed)
SELECT n,
       'customer ' || pick(n, 997),
       (ARRAY['open', 'paid', 'paid', 'paid', 'refunded'])[1 + pick(n * 3, 5)],
       (100 + pick(n * 7, 99900)) / 100.0,
       placed,
       placed + pick(n * 11, 3600) * interval '1 second'
FROM (
    SELECT n, :'since'::timestamptz + (:'until'::timestamptz - :'since'::timestamptz) * (n::float8 / :orders) AS placed
    FROM generate_series(1, :orders) AS n
) AS made;

-- Whatever is paid has a payment and a fee of 1.4 %; what is refunded was paid before.
INSERT INTO ledger_entries (order_id, kind, amount, created_at)
SELECT id, kind, amount, least(placed + later, :'until'::timestamptz)
FROM orders CROSS JOIN LATERAL (VALUES
    ('payment', total, interval '5 seconds'),
    ('fee', round(total * -0.014, 2), interval '5 seconds'),
    ('refund', -total, interval '2 hours')
) AS entry (kind, amount, later)
WHERE status = 'refunded' OR (status = 'paid' AND kind <> 'refund')
ORDER BY placed + later, id, kind;
COMMIT;
ANALYZE orders, ledger_entries;
