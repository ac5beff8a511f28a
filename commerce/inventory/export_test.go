package inventory

// Promote serves the SKU through the hot lane, as if buyers had waited for each other.
func (s *Service) Promote(sku string) { s.hot.promote(sku) }

// Lane says how the SKU is served.
func (s *Service) Lane(sku string) string { return string(s.hot.lane(sku)) }
