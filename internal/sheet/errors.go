package sheet

import "github.com/lianke/lianke/internal/fault"

// Faults of a file as a whole.
var (
	ErrEmpty = fault.New(fault.Invalid, "sheet.empty", "文件 {file} 没有表头", "file {file} has no header row").
			WithHint("第一行应为列名", "the first row must name the columns")
	ErrFile = fault.New(fault.NotFound, "sheet.file", "无法打开文件 {file}", "the file {file} cannot be opened").
		WithHint("请检查路径与读取权限", "check the path and whether you may read it")
	ErrHeader = fault.New(fault.Invalid, "sheet.header", "文件 {file} 的表头无法读取", "the header row of {file} cannot be read").
			WithHint("请另存为 UTF-8 编码的 CSV 或 XLSX", "save it as CSV in UTF-8 or as XLSX")
	ErrColumnTwice = fault.New(fault.Invalid, "sheet.column_twice", "列 {column} 出现了两次", "column {column} appears twice").
			WithHint("请删除或重命名其中一列", "remove or rename one of them")
	ErrUTF16 = fault.New(fault.Invalid, "sheet.utf16", "文件 {file} 是 UTF-16 编码", "file {file} is encoded in UTF-16").
			WithHint("请另存为 UTF-8 编码的 CSV", "save it as CSV in UTF-8")
	ErrXLSX = fault.New(fault.Invalid, "sheet.xlsx", "文件 {file} 不是可读的 XLSX", "file {file} is not a readable XLSX workbook").
		WithHint("请用表格软件重新另存为 XLSX 或 CSV", "save it again as XLSX or CSV")
	ErrGzip = fault.New(fault.Invalid, "sheet.gzip", "文件 {file} 的 gzip 数据已损坏", "the gzip data of {file} is damaged").
		WithHint("请重新压缩或重新传输该文件", "compress or transfer the file again")
)

// Faults of one row.
var (
	ErrCells = fault.New(fault.Invalid, "row.cells", "该行有 {got} 个单元格,表头有 {want} 个", "the row has {got} cells, the header {want}").
			WithHint("请检查该行的分隔符和引号", "check the separators and quotation marks of the row")
	ErrQuote = fault.New(fault.Invalid, "row.quote", "引号没有正确闭合", "a quotation mark is not closed properly").
			WithHint("单元格内的引号应写成两个引号", "write a quotation mark inside a cell twice")
	ErrTooLong = fault.New(fault.Invalid, "row.too_long", "该行超过 {max} 字节", "the row is longer than {max} bytes").
			WithHint("请检查引号是否闭合,或拆分该行", "check that quotation marks are closed, or shorten the row")
	ErrBytes = fault.New(fault.Invalid, "row.encoding", "该行含有无法按 {encoding} 解码的字节", "the row holds bytes that are not {encoding}").
			WithHint("请以 UTF-8 重新导出文件", "export the file again in UTF-8")
	ErrControl = fault.New(fault.Invalid, "row.control", "该行含有空字符", "the row holds a NUL character").
			WithHint("请删除不可见字符", "remove invisible characters")
)
