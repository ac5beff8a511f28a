package sheet

import (
	"bytes"
	"errors"
	"io"
)

// MaxRow is the longest row, in bytes as stored.
const MaxRow = 1 << 20

// splitter cuts a byte stream into records by RFC 4180, with two liberties: lines may end in LF alone, and a quotation
// mark inside an unquoted cell is a character like any other, as spreadsheet programs write inches.
type splitter struct {
	r     io.Reader
	comma byte
	win   []byte // bytes read and not yet consumed, from pos
	pos   int
	eof   bool
	line  int // line number of win[pos], from 1

	text []byte // unescaped cells of the current record, one after the other
	ends []int
}

func newSplitter(r io.Reader, comma byte) *splitter {
	return &splitter{r: r, comma: comma, line: 1, win: make([]byte, 0, 1<<16)}
}

// fill makes win[pos+i] readable; false means the stream ends before it.
func (s *splitter) fill(i int) (bool, error) {
	for s.pos+i >= len(s.win) {
		if s.eof {
			return false, nil
		}
		if s.pos > 0 {
			n := copy(s.win, s.win[s.pos:])
			s.win, s.pos = s.win[:n], 0
		}
		if len(s.win) == cap(s.win) {
			s.win = append(make([]byte, 0, 2*cap(s.win)), s.win...)
		}
		n, err := s.r.Read(s.win[len(s.win):cap(s.win)])
		s.win = s.win[:len(s.win)+n]
		if errors.Is(err, io.EOF) {
			s.eof = true
		} else if err != nil {
			return false, err
		}
	}
	return true, nil
}

// next reads one record. It returns the line the record begins on; cells are valid until the next call. A record error
// (ErrQuote, ErrTooLong) is returned as bad, with the reader placed behind the first physical line of the record.
func (s *splitter) next() (line int, bad, err error) {
	for {
		line = s.line
		n, blank, bad, err := s.record()
		if err != nil {
			return line, nil, err
		}
		if bad != nil {
			return line, bad, s.skipLine()
		}
		s.consume(n)
		if !blank {
			return line, nil, nil
		}
	}
}

// record parses one record at pos without consuming it and returns its length with the line end. io.EOF means there is none.
func (s *splitter) record() (n int, blank bool, bad, err error) {
	s.text, s.ends = s.text[:0], s.ends[:0]
	ok, err := s.fill(0)
	if err != nil {
		return 0, false, nil, err
	}
	if !ok {
		return 0, false, nil, io.EOF
	}
	i := 0
	for { // one cell a turn
		quoted := false
		if ok, err := s.fill(i); err != nil {
			return 0, false, nil, err
		} else if ok && s.win[s.pos+i] == '"' {
			quoted = true
			i++
			closed := false
			for !closed {
				if i > MaxRow {
					return 0, false, ErrTooLong.With("max", MaxRow), nil
				}
				ok, err := s.fill(i)
				if err != nil {
					return 0, false, nil, err
				}
				if !ok {
					return 0, false, ErrQuote, nil
				}
				c := s.win[s.pos+i]
				i++
				if c != '"' {
					s.text = append(s.text, c)
					continue
				}
				ok, err = s.fill(i)
				if err != nil {
					return 0, false, nil, err
				}
				if ok && s.win[s.pos+i] == '"' {
					s.text = append(s.text, '"')
					i++
					continue
				}
				closed = true
			}
		}
		for { // up to the separator or the end of the line
			if i > MaxRow {
				return 0, false, ErrTooLong.With("max", MaxRow), nil
			}
			ok, err := s.fill(i)
			if err != nil {
				return 0, false, nil, err
			}
			if !ok {
				s.ends = append(s.ends, len(s.text))
				return i, len(s.text) == 0 && len(s.ends) == 1 && !quoted, nil, nil
			}
			c := s.win[s.pos+i]
			if c == s.comma {
				s.ends = append(s.ends, len(s.text))
				i++
				break
			}
			if c == '\r' {
				if ok, err := s.fill(i + 1); err != nil {
					return 0, false, nil, err
				} else if !ok || s.win[s.pos+i+1] == '\n' {
					if ok {
						i++
					}
					c = '\n'
				}
			}
			if c == '\n' {
				s.ends = append(s.ends, len(s.text))
				return i + 1, len(s.text) == 0 && len(s.ends) == 1 && !quoted, nil, nil
			}
			if quoted {
				return 0, false, ErrQuote, nil
			}
			s.text = append(s.text, c)
			i++
		}
	}
}

func (s *splitter) consume(n int) {
	s.line += bytes.Count(s.win[s.pos:s.pos+n], []byte{'\n'})
	s.pos += n
}

// skipLine moves behind the next line end, in bounded memory however far it is.
func (s *splitter) skipLine() error {
	for {
		if i := bytes.IndexByte(s.win[s.pos:], '\n'); i >= 0 {
			s.consume(i + 1)
			return nil
		}
		s.pos = len(s.win)
		ok, err := s.fill(0)
		if err != nil || !ok {
			return err
		}
	}
}
