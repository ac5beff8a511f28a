package sheet

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"unicode/utf8"

	"github.com/xuri/excelize/v2"
	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/simplifiedchinese"
)

// Row is one row behind the header. Line is its line in the file (its row in the sheet), from 1, the header's included.
// With Err set the row cannot be used; Cells then hold what could be read of it, for the reject file.
type Row struct {
	Line  int
	Cells []string
	Err   error
}

// Reader iterates over the rows of one table.
type Reader struct {
	info   Info
	header []string
	file   *os.File
	read   atomic.Int64
	next   func() (Row, error)
	closer func() error
}

// Open opens the table and reads its header.
func Open(info Info) (*Reader, error) {
	r := &Reader{info: info, closer: func() error { return nil }}
	f, err := os.Open(info.Path)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", r.name(), err)
	}
	r.file = f
	if info.Format == FormatXLSX {
		err = r.openXLSX()
	} else {
		err = r.openCSV()
	}
	if err == nil {
		err = r.readHeader()
	}
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// Header returns the column names, trimmed.
func (r *Reader) Header() []string { return r.header }

// Next returns the next row that is not blank, or io.EOF. Errors of a row are in Row.Err; the error returned ends reading.
func (r *Reader) Next() (Row, error) {
	row, err := r.next()
	if err != nil {
		if r.info.Gzip && !errors.Is(err, io.EOF) {
			return Row{}, ErrGzip.With("file", r.name()).Because(err)
		}
		return Row{}, err
	}
	switch {
	case row.Err != nil:
	case len(row.Cells) != len(r.header):
		row.Err = ErrCells.With("got", len(row.Cells), "want", len(r.header))
	default:
		for _, c := range row.Cells {
			if strings.IndexByte(c, 0) >= 0 {
				row.Err = ErrControl
			}
		}
	}
	return row, nil
}

// Read returns how many bytes of the file (of Info.Size) have been read, for progress.
func (r *Reader) Read() int64 { return min(r.read.Load(), r.info.Size) }

// Close lets go of the file and of its temporary files.
func (r *Reader) Close() error { return errors.Join(r.closer(), r.file.Close()) }

func (r *Reader) name() string { return filepath.Base(r.info.Path) }

func (r *Reader) readHeader() error {
	row, err := r.next()
	if errors.Is(err, io.EOF) {
		return ErrEmpty.With("file", r.name())
	}
	if err == nil {
		err = row.Err
	}
	if err != nil {
		return ErrHeader.With("file", r.name()).Because(err)
	}
	seen := map[string]bool{}
	for i, c := range row.Cells {
		c = strings.TrimSpace(c)
		row.Cells[i] = c
		if c != "" && seen[c] {
			return ErrColumnTwice.With("column", c)
		}
		seen[c] = true
	}
	if len(seen) == 1 && seen[""] {
		return ErrEmpty.With("file", r.name())
	}
	r.header = row.Cells
	return nil
}

func (r *Reader) openCSV() error {
	var text io.Reader = &reading{r.file, &r.read}
	if r.info.Gzip {
		gz, err := gzip.NewReader(bufio.NewReaderSize(text, 1<<16))
		if err != nil {
			return ErrGzip.With("file", r.name()).Because(err)
		}
		text = gz
	}
	buffered := bufio.NewReaderSize(text, 1<<16)
	if head, _ := buffered.Peek(3); bytes.Equal(head, bomUTF8) {
		_, _ = buffered.Discard(3)
	}
	comma := r.info.comma
	if comma == 0 {
		comma = ','
	}
	split := newSplitter(buffered, comma)
	var gb *encoding.Decoder
	if r.info.Encoding == EncodingGB18030 {
		gb = simplifiedchinese.GB18030.NewDecoder()
	}
	r.next = func() (Row, error) {
		line, bad, err := split.next()
		if err != nil {
			return Row{}, err
		}
		row := Row{Line: line, Err: bad}
		if bad != nil {
			return row, nil
		}
		row.Cells = make([]string, len(split.ends))
		start := 0
		for i, end := range split.ends {
			text, ok := decode(split.text[start:end], gb)
			row.Cells[i], start = text, end
			if !ok && row.Err == nil {
				row.Err = ErrBytes.With("encoding", r.info.Encoding)
			}
		}
		return row, nil
	}
	return nil
}

// decode returns the cell as text; bytes that are not text become U+FFFD and ok is false.
func decode(b []byte, gb *encoding.Decoder) (text string, ok bool) {
	if ascii(b) {
		return string(b), true
	}
	if gb == nil {
		if utf8.Valid(b) {
			return string(b), true
		}
		return strings.ToValidUTF8(string(b), "\uFFFD"), false
	}
	out, err := gb.Bytes(b)
	if err != nil {
		return "\uFFFD", false
	}
	return string(out), !bytes.ContainsRune(out, utf8.RuneError)
}

// maxUnzipped bounds what a workbook may unpack to; parts over a few megabytes go to temporary files, not to memory.
const maxUnzipped = 4 << 30

func (r *Reader) openXLSX() error {
	bad := func(err error) error { return ErrXLSX.With("file", r.name()).Because(err) }
	book, err := excelize.OpenReader(&reading{r.file, &r.read}, excelize.Options{
		RawCellValue: true, UnzipSizeLimit: maxUnzipped, UnzipXMLSizeLimit: 8 << 20,
	})
	if err != nil {
		return bad(err)
	}
	r.closer = book.Close
	sheets := book.GetSheetList()
	if len(sheets) == 0 {
		return ErrEmpty.With("file", r.name())
	}
	rows, err := book.Rows(sheets[0])
	if err != nil {
		return bad(err)
	}
	r.closer = func() error { return errors.Join(rows.Close(), book.Close()) }
	line := 0
	r.next = func() (Row, error) {
		for rows.Next() {
			line++
			cells, err := rows.Columns()
			if err != nil {
				return Row{}, bad(err)
			}
			// Spreadsheets do not store empty cells at the end of a row.
			for len(cells) > 0 && strings.TrimSpace(cells[len(cells)-1]) == "" {
				cells = cells[:len(cells)-1]
			}
			if len(cells) == 0 {
				continue
			}
			for r.header != nil && len(cells) < len(r.header) {
				cells = append(cells, "")
			}
			return Row{Line: line, Cells: cells}, nil
		}
		if err := rows.Error(); err != nil {
			return Row{}, bad(err)
		}
		return Row{}, io.EOF
	}
	return nil
}

type reading struct {
	r io.Reader
	n *atomic.Int64
}

func (r *reading) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.n.Add(int64(n))
	return n, err
}
