package product

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/validate"
)

// AttributeKind is what values an attribute takes.
type AttributeKind string

// The kinds of attributes.
const (
	AttributeText   AttributeKind = "text"
	AttributeNumber AttributeKind = "number" // decimal, as text: "12.5"
	AttributeEnum   AttributeKind = "enum"   // one of its options
	AttributeAxis   AttributeKind = "axis"   // an enum by which the SKUs of one product differ: colour, size
)

// Attribute is defined by a category for its products.
type Attribute struct {
	Code     string        `json:"code" validate:"required,max=40"`
	Name     string        `json:"name" validate:"required,max=60"`
	Kind     AttributeKind `json:"kind" enum:"text,number,enum,axis" validate:"oneof=text number enum axis"`
	Options  []string      `json:"options,omitempty" validate:"max=200,dive,required,max=60" doc:"of enum and axis, in the order people expect"`
	Unit     string        `json:"unit,omitempty" validate:"max=20"`
	Required bool          `json:"required,omitempty" doc:"needed before the product is sold"`
}

var number = regexp.MustCompile(`^-?[0-9]{1,12}(\.[0-9]{1,6})?$`)

// takes says what is wrong with a value; ok if nothing is.
func (a Attribute) takes(v string) (problem, hint fault.Text, ok bool) {
	switch a.Kind {
	case AttributeNumber:
		return fault.Text{ZH: "须为数字", EN: "is not a number"}, fault.Text{ZH: "例如 12.5", EN: "write it like 12.5"}, number.MatchString(v)
	case AttributeEnum, AttributeAxis:
		list := strings.Join(a.Options, ", ")
		return fault.Text{ZH: "不是可选值", EN: "is not one of the options"}, fault.Text{ZH: "可选:" + list, EN: "options: " + list}, slices.Contains(a.Options, v)
	default:
		return fault.Text{ZH: "超过 500 个字符", EN: "is longer than 500 characters"}, fault.Text{ZH: "请缩短", EN: "shorten it"}, utf8.RuneCountInString(v) <= 500
	}
}

// wrongValues returns what is wrong with the values of the attributes a category defines; values of others are free. Values
// that are required may be missing unless complete.
func wrongValues(defined []Attribute, values map[string]string, complete bool) []fault.Field {
	var wrong []fault.Field
	for _, a := range defined {
		v := values[a.Code]
		path := "attr." + a.Code
		if v == "" {
			if complete && a.Required {
				wrong = append(wrong, validate.Field(path, "product.required", "上架前必填", "is needed before the product is sold", "请填写"+a.Name, "give "+a.Name))
			}
			continue
		}
		if problem, hint, ok := a.takes(v); !ok {
			wrong = append(wrong, fault.Field{Path: path, Code: "product.attribute", Text: problem, Hint: hint})
		}
	}
	return wrong
}

// inherited merges the definitions from the root to the category: the nearer one of a code replaces the farther in its place.
func inherited(levels [][]Attribute) []Attribute {
	var out []Attribute
	for _, level := range levels {
		for _, a := range level {
			if i := slices.IndexFunc(out, func(o Attribute) bool { return o.Code == a.Code }); i >= 0 {
				out[i] = a
				continue
			}
			out = append(out, a)
		}
	}
	return out
}

// Axis is a dimension of a product's grid.
type Axis struct {
	Code    string   `json:"code"`
	Name    string   `json:"name"`
	Options []string `json:"options"`
}

// Grid is the size and colour matrix of a product (款色码): its axes and the SKU of each combination.
type Grid struct {
	SPU   string     `json:"spu"`
	Axes  []Axis     `json:"axes"`
	Cells []GridCell `json:"cells" doc:"every combination of options, the last axis changing fastest; at most 2,000"`
	Other []string   `json:"other" doc:"SKUs outside the grid: a value is missing or not an option"`
}

// GridCell is one combination.
type GridCell struct {
	Values []string `json:"values" doc:"one for each axis"`
	SKU    string   `json:"sku" doc:"empty where there is none"`
	Status Status   `json:"status,omitempty"`
}

const maxCells = 2_000

// gridOf lays the SKUs of a product out along the axes its category defines. Archived SKUs leave their cell to a successor.
func gridOf(spu string, defined []Attribute, items []Item) (Grid, error) {
	g := Grid{SPU: spu, Axes: []Axis{}, Cells: []GridCell{}, Other: []string{}}
	n := 1
	for _, a := range defined {
		if a.Kind == AttributeAxis {
			g.Axes = append(g.Axes, Axis{a.Code, a.Name, a.Options})
			if n *= len(a.Options); n > maxCells {
				return Grid{}, ErrInvalid.WithFields(validate.Field("options", "product.grid", "规格组合过多", "there are too many combinations",
					"各规格选项数之积不超过 2000", "the options multiply to at most 2,000"))
			}
		}
	}
	taken := map[string]Item{}
	for _, it := range items {
		key, values := cellOf(g.Axes, it.Attrs)
		_, double := taken[key]
		if values == nil || double && it.Status == StatusArchived {
			g.Other = append(g.Other, it.SKU)
			continue
		}
		if before := taken[key]; double && before.Status != StatusArchived {
			return Grid{}, ErrCell.With("cell", strings.Join(values, " / "), "sku", before.SKU)
		} else if double {
			g.Other = append(g.Other, before.SKU)
		}
		taken[key] = it
	}
	if len(g.Axes) == 0 {
		return g, nil
	}
	for i := range n {
		values := make([]string, len(g.Axes))
		for a, rest := len(g.Axes)-1, i; a >= 0; a-- {
			options := g.Axes[a].Options
			values[a], rest = options[rest%len(options)], rest/len(options)
		}
		it := taken[strings.Join(values, "\x00")]
		g.Cells = append(g.Cells, GridCell{values, it.SKU, it.Status})
	}
	return g, nil
}

// cellOf is where a SKU stands; values is nil if it is not on the grid.
func cellOf(axes []Axis, attrs map[string]string) (key string, values []string) {
	if len(axes) == 0 {
		return "", nil
	}
	for _, a := range axes {
		v := attrs[a.Code]
		if !slices.Contains(a.Options, v) {
			return "", nil
		}
		values = append(values, v)
	}
	return strings.Join(values, "\x00"), values
}

// checkAttributes checks the definitions of one category.
func checkAttributes(list []Attribute) []fault.Field {
	var wrong []fault.Field
	seen := map[string]bool{}
	for i, a := range list {
		bad := func(field, zh, en, hintZH, hintEN string) {
			wrong = append(wrong, validate.Field(fmt.Sprintf("attributes[%d].%s", i, field), "product.attribute", zh, en, hintZH, hintEN))
		}
		if seen[a.Code] {
			bad("code", "属性重复", "the attribute occurs twice", "请删除其一", "remove one")
		}
		seen[a.Code] = true
		choice := a.Kind == AttributeEnum || a.Kind == AttributeAxis
		if choice != (len(a.Options) > 0) {
			bad("options", "仅枚举与规格属性须有选项", "enum and axis have options, others none", "请增减选项", "add or remove options")
		}
		if distinct := slices.Compact(slices.Sorted(slices.Values(a.Options))); len(distinct) != len(a.Options) {
			bad("options", "选项重复", "an option occurs twice", "请删除其一", "remove one")
		}
	}
	return wrong
}

// trimmed drops empty values and spaces around the others, which a file would not keep either.
func trimmed(attrs map[string]string) map[string]string {
	out := maps.Clone(attrs)
	maps.DeleteFunc(out, func(k, v string) bool { return strings.TrimSpace(v) == "" })
	for k, v := range out {
		out[k] = strings.TrimSpace(v)
	}
	if out == nil {
		out = map[string]string{}
	}
	return out
}
