package product

import (
	"bytes"
	"context"
	"net/http"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/api"
	"github.com/lianke/lianke/internal/auth"
	"github.com/lianke/lianke/internal/pg"
)

// Auditor keeps the audit log.
type Auditor interface {
	Audit(ctx context.Context, tx pgx.Tx, by auth.Actor, action, object string, detail map[string]any) error
}

// EditRoutes registers the operations that write the catalogue. Everybody with a role may read.
func EditRoutes(a *api.API, e *Editor, audit Auditor) {
	h := editHandlers{e, audit}
	edit := []auth.Role{auth.RoleMerchandiser}
	op := func(id, method, path, summary string, roles []auth.Role) api.Op {
		return api.Op{ID: id, Method: method, Path: "/api/v1" + path, Tag: "products", Summary: summary, Roles: roles}
	}
	api.Add(a, op("find-product-categories", http.MethodGet, "/product-categories", "List categories with the attributes they define", auth.Roles), h.categories)
	api.Add(a, op("put-product-category", http.MethodPut, "/product-categories/{code}", "Create or change a category", edit), h.category)
	api.Add(a, op("get-spu", http.MethodGet, "/spus/{spu}", "Get a product (SPU) with its titles and images", auth.Roles), h.spu)
	api.Add(a, op("put-spu", http.MethodPut, "/spus/{spu}", "Create or change a product (SPU)", edit), h.putSPU)
	api.Add(a, op("spu-grid", http.MethodGet, "/spus/{spu}/grid", "Size and colour matrix of a product", auth.Roles), h.grid)
	api.Add(a, op("put-product", http.MethodPut, "/products/{sku}", "Create a SKU as a draft, or change it", edit), h.putSKU)
	api.Add(a, op("move-product", http.MethodPost, "/products/{sku}/status", "Take a SKU through its life: review, publish, delist, archive", edit), h.move)
	api.Add(a, op("get-bundle", http.MethodGet, "/products/{sku}/components", "Get the components of a bundle", auth.Roles), h.bundle)
	api.Add(a, op("put-bundle", http.MethodPut, "/products/{sku}/components", "Replace the components of a bundle", edit), h.putBundle)
	api.Add(a, op("export-products", http.MethodGet, "/product-list", "Download the catalogue as a workbook that can be imported again", edit), h.export)
}

type editHandlers struct {
	e     *Editor
	audit Auditor
}

// audited runs fn in a transaction together with its line in the audit log; fn may add to the detail.
func (h editHandlers) audited(ctx context.Context, action, object string, fn func(tx pgx.Tx, detail map[string]any) error) error {
	by, err := auth.ActorFrom(ctx)
	if err != nil {
		return err
	}
	return pg.InTx(ctx, h.e.db, func(tx pgx.Tx) error {
		detail := map[string]any{}
		if err := fn(tx, detail); err != nil {
			return err
		}
		return h.audit.Audit(ctx, tx, by, action, object, detail)
	})
}

type categoriesInput struct {
	Cursor string `query:"cursor"`
	Limit  int    `query:"limit" minimum:"1" maximum:"500" default:"200"`
}

func (h editHandlers) categories(ctx context.Context, in *categoriesInput) (*api.PageOutput[Category], error) {
	all, err := h.e.Categories(ctx, h.e.db, in.Cursor, in.Limit+1)
	if err != nil {
		return nil, err
	}
	return api.NewPage(all, in.Limit, func(c Category) string { return c.Code }), nil
}

type categoryInput struct {
	Code string `path:"code"`
	Body Category
}

func (h editHandlers) category(ctx context.Context, in *categoryInput) (*api.Body[Category], error) {
	in.Body.Code = in.Code
	out := &api.Body[Category]{}
	return out, h.audited(ctx, "product_category.put", "product-category/"+in.Code, func(tx pgx.Tx, detail map[string]any) (err error) {
		out.Body, err = h.e.PutCategory(ctx, tx, in.Body)
		detail["version"] = out.Body.Version
		return err
	})
}

type spuPath struct {
	SPU string `path:"spu"`
}

func (h editHandlers) spu(ctx context.Context, in *spuPath) (*api.Body[SPU], error) {
	p, err := h.e.GetSPU(ctx, h.e.db, in.SPU)
	return &api.Body[SPU]{Body: p}, err
}

type spuInput struct {
	SPU  string `path:"spu"`
	Body SPU
}

func (h editHandlers) putSPU(ctx context.Context, in *spuInput) (*api.Body[SPU], error) {
	in.Body.SPU = in.SPU
	out := &api.Body[SPU]{}
	return out, h.audited(ctx, "spu.put", "spu/"+in.SPU, func(tx pgx.Tx, detail map[string]any) (err error) {
		out.Body, err = h.e.PutSPU(ctx, tx, in.Body)
		detail["version"] = out.Body.Version
		return err
	})
}

func (h editHandlers) grid(ctx context.Context, in *spuPath) (*api.Body[Grid], error) {
	g, err := h.e.Grid(ctx, h.e.db, in.SPU)
	return &api.Body[Grid]{Body: g}, err
}

type putSKUInput struct {
	SKU  string `path:"sku"`
	Body Draft
}

func (h editHandlers) putSKU(ctx context.Context, in *putSKUInput) (*api.Body[Item], error) {
	in.Body.SKU = in.SKU
	out := &api.Body[Item]{}
	return out, h.audited(ctx, "product.put", "product/"+in.SKU, func(tx pgx.Tx, detail map[string]any) (err error) {
		out.Body, err = h.e.PutSKU(ctx, tx, in.Body)
		detail["version"] = out.Body.Version
		return err
	})
}

type moveInput struct {
	SKU  string `path:"sku"`
	Body struct {
		Status  Status `json:"status" enum:"draft,in_review,active,inactive,delisting,archived"`
		Version int64  `json:"version" doc:"as it was read"`
	}
}

func (h editHandlers) move(ctx context.Context, in *moveInput) (*api.Body[Item], error) {
	out := &api.Body[Item]{}
	return out, h.audited(ctx, "product.moved", "product/"+in.SKU, func(tx pgx.Tx, detail map[string]any) (err error) {
		var from Status
		from, out.Body, err = h.e.Move(ctx, tx, in.SKU, in.Body.Version, in.Body.Status)
		detail["from"], detail["to"], detail["version"] = from, in.Body.Status, out.Body.Version
		return err
	})
}

func (h editHandlers) bundle(ctx context.Context, in *skuPath) (*api.Body[Bundle], error) {
	items, err := readItems(ctx, h.e.db, []string{in.SKU})
	if err != nil {
		return nil, err
	}
	if len(items) == 0 {
		return nil, ErrNotFound.With("sku", in.SKU)
	}
	components, err := Components(ctx, h.e.db, []string{in.SKU})
	return &api.Body[Bundle]{Body: Bundle{in.SKU, append([]Component{}, components[in.SKU]...), items[0].Version}}, err
}

type bundleBody struct {
	SKU  string `path:"sku"`
	Body struct {
		Components []Component `json:"components"`
		Version    int64       `json:"version" doc:"of the SKU as it was read"`
	}
}

func (h editHandlers) putBundle(ctx context.Context, in *bundleBody) (*api.Body[Bundle], error) {
	out := &api.Body[Bundle]{}
	return out, h.audited(ctx, "bundle.put", "product/"+in.SKU, func(tx pgx.Tx, detail map[string]any) (err error) {
		out.Body, err = h.e.PutBundle(ctx, tx, Bundle{in.SKU, in.Body.Components, in.Body.Version})
		detail["components"] = in.Body.Components
		return err
	})
}

type exportOutput struct {
	ContentType string `header:"Content-Type"`
	Disposition string `header:"Content-Disposition"`
	Body        []byte
}

func (h editHandlers) export(ctx context.Context, _ *struct{}) (*exportOutput, error) {
	var b bytes.Buffer
	if err := h.e.Export(ctx, h.e.db, &b); err != nil {
		return nil, err
	}
	return &exportOutput{
		ContentType: "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
		Disposition: `attachment; filename="products.xlsx"`, Body: b.Bytes(),
	}, nil
}
