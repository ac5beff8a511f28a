package product

import (
	"context"
	"net/http"

	"github.com/lianke/lianke/internal/api"
	"github.com/lianke/lianke/internal/auth"
)

// Routes registers the operations of the catalogue, which everybody with a role may read.
func Routes(a *api.API, c *Catalogue) {
	h := handlers{c}
	op := func(id, path, summary string) api.Op {
		return api.Op{ID: id, Method: http.MethodGet, Path: "/api/v1/products" + path, Tag: "products", Summary: summary, Roles: auth.Roles}
	}
	api.Add(a, op("find-products", "", "Find products by name, code, barcode, category or brand"), h.find)
	api.Add(a, op("get-product", "/{sku}", "Get a product"), h.get)
}

type handlers struct{ c *Catalogue }

type findInput struct {
	Text     string `query:"q" maxLength:"200" doc:"all of these words; the last one as a prefix"`
	Status   string `query:"status" enum:"draft,in_review,active,inactive,delisting,archived"`
	Category string `query:"category"`
	Brand    string `query:"brand"`
	Cursor   string `query:"cursor"`
	Limit    int    `query:"limit" minimum:"1" maximum:"199" default:"50"`
}

type findOutput struct {
	Body struct {
		api.Page[Item]
		Total int64 `json:"total" doc:"matches in all, exact up to 10,000"`
	}
}

func (h handlers) find(ctx context.Context, in *findInput) (*findOutput, error) {
	items, total, err := h.c.Find(ctx, FindInput{
		Text: in.Text, Status: in.Status, Category: in.Category, Brand: in.Brand, After: in.Cursor, Limit: in.Limit + 1,
	})
	if err != nil {
		return nil, err
	}
	out := &findOutput{}
	out.Body.Page = api.NewPage(items, in.Limit, func(it Item) string { return it.SKU }).Body
	out.Body.Total = total
	return out, nil
}

type skuPath struct {
	SKU string `path:"sku"`
}

func (h handlers) get(ctx context.Context, in *skuPath) (*api.Body[Item], error) {
	it, err := h.c.Get(ctx, in.SKU)
	return &api.Body[Item]{Body: it}, err
}
