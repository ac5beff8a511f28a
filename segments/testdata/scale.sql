-- A brand of a given size, for measuring: current_setting('scale.members') members with a fifth more births, visitors
-- beside them, and current_setting('scale.activities') activities over the two years before 2026-11-23. Skewed as real
-- brands are: a few members do most, most are silent. The same settings give the same data.
SELECT setseed(0.25);

INSERT INTO member.births (birth, root, raw_root, ns, scope, person, registered_at, first_fact_at, created_at)
SELECT b, r, r, CASE WHEN b > n THEN 'wechat_openid' ELSE 'phone' END, '', true, '2026-11-23', '2026-11-23', '2026-11-23'
FROM (SELECT current_setting('scale.members')::bigint AS n) s,
     LATERAL (SELECT b, CASE WHEN b > n THEN (b - n) * 5 ELSE b END AS r FROM generate_series(1, n + n / 5) b) g;

INSERT INTO member.members (id, is_member, registered_at, first_fact_at, home_store, attrs, tags, updated_at)
SELECT id, id % 20 <> 0, at, at, 'store-' || (power(random(), 2) * 200)::int,
       jsonb_build_object(
           'gender', (ARRAY['female', 'female', 'male'])[1 + (random() * 2.99)::int % 3],
           'province', 'province-' || (power(random(), 2) * 30)::int,
           'city', 'city-' || (power(random(), 2) * 300)::int,
           'birthday', to_char(date '1960-01-01' + (random() * 16000)::int, 'YYYY-MM-DD'),
           'level', (power(random(), 3) * 5)::int,
           'score', round((random() * 1000)::numeric, 1)),
       ARRAY(SELECT 'tag-' || t FROM generate_series(0, 29) t WHERE random() < 0.25 / (1 + t) AND id > 0),
       '2026-11-23'
FROM (SELECT id, timestamptz '2023-11-23 00:00+08' + random() * interval '1095 days' AS at
      FROM generate_series(1, current_setting('scale.members')::bigint) id) m;

INSERT INTO member.reach (id, channel, birth, granted)
SELECT id, channel, id, random() < 0.6
FROM (
    SELECT m.id, c.channel, random() AS luck, c.share
    FROM member.members m
    CROSS JOIN (VALUES ('sms', 0.7), ('wechat', 0.5), ('email', 0.3)) AS c (channel, share)
    OFFSET 0
) r
WHERE luck < share;

SELECT member.ensure_activity_partitions('2024-11-01', '2027-01-31');

-- The seven keys and what they carry, each with its share of all rows.
INSERT INTO member.activities (id, birth, key, occurred_at, recorded_at, mode, touchpoint, source, props)
SELECT nextval('member.activity_seq'), birth, key, at, at, 'backfill', 'miniprogram', 'scale',
       CASE key
           WHEN 'message_sent' THEN jsonb_build_object('channel', 'wechat', 'journey', 'journey-' || k % 40, 'node', 'n' || k % 7, 'template', 'tpl-' || k % 60)
           WHEN 'message_opened' THEN jsonb_build_object('channel', 'wechat', 'journey', 'journey-' || k % 40, 'node', 'n' || k % 7, 'template', 'tpl-' || k % 60)
           WHEN 'order_paid' THEN jsonb_build_object('order_no', 'o' || n, 'touchpoint', 'pos', 'store', 'store-' || k % 200, 'amount_fen', (5000 + 90000 * power(amount, 3))::bigint, 'quantity', 1 + k % 5)
           WHEN 'order_returned' THEN jsonb_build_object('order_no', 'r' || n, 'return_of', 'o' || n, 'touchpoint', 'pos', 'store', 'store-' || k % 200, 'amount_fen', -(5000 + 90000 * power(amount, 3))::bigint, 'quantity', -1)
           WHEN 'product_purchased' THEN jsonb_build_object('order_no', 'o' || n, 'sku', 'sku-' || k % 2000, 'category', 'category-' || k % 40, 'brand', 'brand-' || k % 12, 'touchpoint', 'pos', 'store', 'store-' || k % 200, 'quantity', 1 + k % 3, 'amount_fen', (2000 + 30000 * power(amount, 3))::bigint)
           ELSE jsonb_build_object('sku', 'sku-' || k % 2000, 'category', 'category-' || k % 40, 'price_fen', (2000 + 30000 * power(amount, 3))::bigint, 'quantity', 1)
       END
FROM (
    SELECT n, at, amount, (pick * pick * 2000)::bigint AS k, 1 + floor(power(who, 1.5) * births)::bigint AS birth,
           CASE WHEN kind < 0.45 THEN 'product_viewed' WHEN kind < 0.55 THEN 'cart_added' WHEN kind < 0.70 THEN 'message_sent'
                WHEN kind < 0.75 THEN 'message_opened' WHEN kind < 0.84 THEN 'order_paid' WHEN kind < 0.99 THEN 'product_purchased'
                ELSE 'order_returned' END AS key
    FROM (
        SELECT n, random() AS amount, random() AS pick, random() AS who, random() AS kind,
               timestamptz '2024-11-23 00:00+08' + interval '730 days' * (n / current_setting('scale.activities')::float8) AS at,
               (current_setting('scale.members')::bigint * 6 / 5) AS births
        FROM generate_series(1, current_setting('scale.activities')::bigint) n
        OFFSET 0
    ) raw
) a;
