package importer

import "github.com/lianke/lianke/internal/fault"

// Faults of a run.
var (
	ErrKind = fault.New(fault.Invalid, "import.kind", "没有名为 {kind} 的导入类型", "there is no import kind {kind}").
		WithHint("可用类型:{kinds}", "kinds: {kinds}")
	ErrColumns = fault.New(fault.Invalid, "import.columns", "缺少必需的列:{columns}", "required columns are missing: {columns}").
			WithHint("该类型可用的列:{known}", "columns of this kind: {known}")
	ErrConcurrent = fault.New(fault.Conflict, "import.concurrent", "另一个进程正在导入同一文件", "another process is importing the same file").
			WithHint("请等待其完成", "wait for it to finish")
	ErrRejectsPath = fault.New(fault.Invalid, "import.rejects_path", "拒绝文件不能是被导入的文件", "the reject file cannot be the imported file").
			WithHint("请用 --rejects 指定其他路径", "choose another path with --rejects")
)
