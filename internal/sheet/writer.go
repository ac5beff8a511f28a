package sheet

import (
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/xuri/excelize/v2"
)

// Guard returns the cell so that no spreadsheet program runs it as a formula.
func Guard(cell string) string {
	if cell == "" || !strings.ContainsRune("=+-@\t\r", rune(cell[0])) {
		return cell
	}
	if _, err := strconv.ParseFloat(cell, 64); err == nil && cell[0] != '=' {
		return cell
	}
	return "'" + cell
}

// Unguard returns what a cell was before Guard.
func Unguard(cell string) string {
	if bare, ok := strings.CutPrefix(cell, "'"); ok && Guard(bare) == cell {
		return bare
	}
	return cell
}

// CSV writes guarded rows in UTF-8.
type CSV struct{ w *csv.Writer }

// NewCSV returns a writer onto w.
func NewCSV(w io.Writer) *CSV { return &CSV{csv.NewWriter(w)} }

// Write adds a row.
func (c *CSV) Write(cells []string) error {
	out := make([]string, len(cells))
	for i, cell := range cells {
		out[i] = Guard(cell)
	}
	return c.w.Write(out)
}

// Flush hands everything written so far to the underlying writer.
func (c *CSV) Flush() error {
	c.w.Flush()
	return c.w.Error()
}

// XLSX writes rows into the only sheet of a workbook, streaming. Cells are text: nothing in them is ever a formula.
type XLSX struct {
	book   *excelize.File
	stream *excelize.StreamWriter
	out    io.Writer
	row    int
}

// NewXLSX returns a writer whose Close writes the workbook to w.
func NewXLSX(w io.Writer) (*XLSX, error) {
	book := excelize.NewFile()
	stream, err := book.NewStreamWriter(book.GetSheetName(0))
	if err != nil {
		return nil, fmt.Errorf("new workbook: %w", err)
	}
	return &XLSX{book: book, stream: stream, out: w}, nil
}

// Write adds a row.
func (x *XLSX) Write(cells []string) error {
	x.row++
	at, err := excelize.CoordinatesToCellName(1, x.row)
	if err != nil {
		return fmt.Errorf("write row %d: %w", x.row, err)
	}
	values := make([]any, len(cells))
	for i, cell := range cells {
		values[i] = Guard(cell)
	}
	if err := x.stream.SetRow(at, values); err != nil {
		return fmt.Errorf("write row %d: %w", x.row, err)
	}
	return nil
}

// Close finishes the workbook.
func (x *XLSX) Close() error {
	defer x.book.Close()
	if err := x.stream.Flush(); err != nil {
		return fmt.Errorf("finish workbook: %w", err)
	}
	if err := x.book.Write(x.out); err != nil {
		return fmt.Errorf("write workbook: %w", err)
	}
	return nil
}
