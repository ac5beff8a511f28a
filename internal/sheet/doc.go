// Package sheet reads and writes tables as people keep them: CSV, CSV.gz and XLSX.
//
// Reading streams: memory is bounded by the longest row (MaxRow), whatever the length of the file. The encoding is UTF-8,
// with or without BOM, or GB18030; it is decided over the whole file by Inspect, so a Chinese name first met in the last
// line decides as well as one in the first. What is wrong with one row is an error of that row (Row.Err) and reading goes on
// behind it: bytes that do not decode, too many or too few cells, a quotation mark that is never closed (which costs its
// own line and not the rest of the file). What is wrong with the file as a whole (not a table, no header, a column named
// twice) is an error of Open.
//
// Writing guards against formula injection: a text cell that a spreadsheet program would run as a formula is written with
// a leading apostrophe. Numbers, negative ones too, stay as they are.
package sheet
