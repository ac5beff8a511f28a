-- +goose Up

-- Which tenders a touchpoint may report as collected already. Nobody else can check that money, so only a till takes any
-- unless somebody says otherwise.
ALTER TABLE commerce.selling_terms
    ADD COLUMN tenders text[] NOT NULL DEFAULT '{}',
    ADD CONSTRAINT selling_terms_tenders CHECK (tenders <@ ARRAY['cash', 'mall', 'platform', 'subsidy']);
UPDATE commerce.selling_terms SET tenders = ARRAY['cash', 'mall'] WHERE touchpoint = 'pos';

-- When the provider gave us prepay_id, which it forgets after two hours.
ALTER TABLE commerce.payments ADD COLUMN prepared_at timestamptz;
