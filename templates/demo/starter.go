package demo

import (
	_ "embed"
	"encoding/json"
	"fmt"
)

//go:embed brand/segments.json
var segmentsJSON []byte

//go:embed brand/messages.json
var messagesJSON []byte

//go:embed brand/journeys.json
var journeysJSON []byte

// Segment is a segment of the brand; Rule is in the segment rule language.
type Segment struct {
	Code string          `json:"code"`
	Name string          `json:"name"`
	Rule json.RawMessage `json:"rule"`
}

// Segments returns the brand's segments, in the order in which they are shown.
func Segments() ([]Segment, error) {
	var out []Segment
	if err := json.Unmarshal(segmentsJSON, &out); err != nil {
		return nil, fmt.Errorf("read demo segments: %w", err)
	}
	return out, nil
}

// Messages returns the brand's message templates as a JSON array in the form of the template library.
func Messages() []byte { return messagesJSON }

// JourneyCodes are the brand's journeys, in the order of SICAS.
var JourneyCodes = []string{"robin-letter", "second-cup", "rainy-day"}

// Journeys returns the brand's journey documents by code.
func Journeys() (map[string]json.RawMessage, error) {
	var out map[string]json.RawMessage
	if err := json.Unmarshal(journeysJSON, &out); err != nil {
		return nil, fmt.Errorf("read demo journeys: %w", err)
	}
	return out, nil
}
