package main

import (
	"context"
	"time"

	"github.com/lianke/lianke/commerce/product"
	"github.com/lianke/lianke/internal/search"
)

// wireSearch constructs the search index, on Elasticsearch where there is one, and what is found through it.
func (a *app) wireSearch() error {
	a.search = search.NewPostgres(a.db)
	if a.cfg.ElasticsearchURL != "" {
		elastic, err := search.NewElastic(a.cfg.ElasticsearchURL, "lianke", nil)
		if err != nil {
			return err
		}
		a.search = elastic
	}
	a.catalogue = product.NewCatalogue(a.db, a.search)
	product.Routes(a.api, a.catalogue)
	product.EditRoutes(a.api, product.NewEditor(a.db, a.clock), a.auth)
	a.jobs.Every("product index", 5*time.Second, func(ctx context.Context) error {
		_, err := a.catalogue.Index(ctx)
		return err
	})
	return nil
}
