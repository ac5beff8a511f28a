package product

import (
	"fmt"

	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/internal/validate"
)

// Component is what a virtual bundle contains. Weight is its share of the bundle's price against the other components, for
// all its pieces together; where all weights are zero, the quantities are the weights.
type Component struct {
	SKU      string `json:"sku" validate:"required,max=64"`
	Quantity int64  `json:"quantity" validate:"min=1,max=999"`
	Weight   int64  `json:"weight" validate:"min=0,max=1000000000"`
}

// Part is a component of bundles that were sold, with what was paid for it.
type Part struct {
	SKU       string    `json:"sku"`
	Quantity  int64     `json:"quantity"`
	AmountFen money.Fen `json:"amount_fen" doc:"of all pieces together"`
}

// maxBundles keeps quantities within reason.
const maxBundles = 1_000_000

// Explode divides the amount of so many bundles among their components. The parts sum to the amount exactly; ties of a fen go
// to the earlier component.
func Explode(amount money.Fen, bundles int64, components []Component) ([]Part, error) {
	if len(components) == 0 || bundles < 1 || bundles > maxBundles {
		return nil, ErrInvalid.WithFields(validate.Field("components", "product.bundle", "组合没有组件或数量有误", "the bundle has no components or its number is wrong",
			"请为组合添加组件", "give the bundle components"))
	}
	weights := make([]int64, len(components))
	var sum int64
	for i, c := range components {
		weights[i] = c.Weight
		sum += c.Weight
	}
	if sum == 0 {
		for i, c := range components {
			weights[i] = c.Quantity
		}
	}
	amounts, err := money.Split(amount, weights)
	if err != nil {
		return nil, fmt.Errorf("explode bundle: %w", err)
	}
	parts := make([]Part, len(components))
	for i, c := range components {
		parts[i] = Part{c.SKU, c.Quantity * bundles, amounts[i]}
	}
	return parts, nil
}

// maxComponents bounds a bundle.
const maxComponents = 50

func checkComponents(bundle string, components []Component) []fault.Field {
	var wrong []fault.Field
	bad := func(path, zh, en, hintZH, hintEN string) {
		wrong = append(wrong, validate.Field(path, "product.bundle", zh, en, hintZH, hintEN))
	}
	if len(components) == 0 || len(components) > maxComponents {
		bad("components", "组件数须为 1 到 50", "a bundle has 1 to 50 components", "请增减组件", "add or remove components")
	}
	seen := map[string]bool{bundle: true}
	for i, c := range components {
		if seen[c.SKU] {
			bad(fmt.Sprintf("components[%d].sku", i), "组件重复或为组合自身", "the component occurs twice or is the bundle itself", "请合并数量", "add the quantities up")
		}
		seen[c.SKU] = true
	}
	return wrong
}
