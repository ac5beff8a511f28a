package segments

import (
	"bytes"
	"encoding/json"
)

// pairs writes a JSON object whose keys keep the order they are added in.
type pairs struct {
	buf bytes.Buffer
	err error
}

func (p *pairs) add(key string, value any) *pairs {
	b, err := json.Marshal(value)
	if err != nil && p.err == nil {
		p.err = err
	}
	if p.buf.Len() > 0 {
		p.buf.WriteByte(',')
	}
	k, _ := json.Marshal(key)
	p.buf.Write(k)
	p.buf.WriteByte(':')
	p.buf.Write(b)
	return p
}

func (p *pairs) done() ([]byte, error) {
	if p.err != nil {
		return nil, p.err
	}
	return append(append([]byte{'{'}, p.buf.Bytes()...), '}'), nil
}

// value returns what stands behind the operator.
func (c cond) value() any {
	switch c.op {
	case opExists:
		return c.want
	case opAnniversary:
		return c.days
	case opIn, opNin, opBetween:
		if c.times != nil {
			return c.times
		}
		return c.values
	}
	if c.times != nil {
		return c.times[0]
	}
	return c.values[0]
}

func (c cond) MarshalJSON() ([]byte, error) {
	var p pairs
	if c.isProp {
		p.add("prop", c.name)
	} else {
		p.add("attr", c.name)
	}
	return p.add("op", c.op).add("value", c.value()).done()
}

func (n attrNode) MarshalJSON() ([]byte, error) { return n.cond.MarshalJSON() }

func (n eventNode) MarshalJSON() ([]byte, error) {
	var p pairs
	p.add("event", n.Key)
	if n.measure == measureCount {
		if len(n.tests) > 0 {
			var tests pairs
			for _, t := range n.tests {
				tests.add(string(t.op), t.value())
			}
			b, err := tests.done()
			if err != nil {
				return nil, err
			}
			p.add("count", json.RawMessage(b))
		}
	} else {
		p.add(string(n.measure), n.prop)
		for _, t := range n.tests {
			p.add(string(t.op), t.value())
		}
	}
	if !n.within.isZero() {
		p.add("within", n.within)
	}
	if len(n.Where) > 0 {
		p.add("where", n.Where)
	}
	return p.done()
}

func (n occurrenceNode) MarshalJSON() ([]byte, error) {
	var p, test pairs
	if n.before != nil {
		test.add("before", n.before)
	}
	if n.after != nil {
		test.add("after", n.after)
	}
	if !n.within.isZero() {
		test.add("within", n.within)
	}
	b, err := test.done()
	if err != nil {
		return nil, err
	}
	which := "first"
	if n.last {
		which = "last"
	}
	p.add("event", n.Key).add(which, json.RawMessage(b))
	if len(n.Where) > 0 {
		p.add("where", n.Where)
	}
	return p.done()
}

func (n sequenceNode) MarshalJSON() ([]byte, error) {
	var p pairs
	p.add("sequence", n.steps)
	if n.within > 0 {
		p.add("within", n.text)
	}
	if n.unless != nil {
		p.add("unless", n.unless)
	}
	return p.done()
}

func (n rfmNode) MarshalJSON() ([]byte, error) {
	var p, q pairs
	for _, s := range []struct {
		name   string
		scores []int
	}{{"r", n.R}, {"f", n.F}, {"m", n.M}} {
		if len(s.scores) > 0 {
			q.add(s.name, s.scores)
		}
	}
	b, err := q.done()
	if err != nil {
		return nil, err
	}
	return p.add("rfm", json.RawMessage(b)).done()
}

func (n sampleNode) MarshalJSON() ([]byte, error) {
	var p, q pairs
	b, err := q.add("percent", n.percent).add("salt", n.salt).done()
	if err != nil {
		return nil, err
	}
	return p.add("sample", json.RawMessage(b)).done()
}
