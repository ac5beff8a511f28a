package embedded

import "github.com/lianke/lianke/internal/fault"

var (
	errNoPostgres = fault.New(fault.Unavailable, "embedded.no_postgres",
		"这台机器没有安装 PostgreSQL", "PostgreSQL is not installed on this machine").
		WithHint("请以 root 执行 apt-get install postgresql(或 deploy/setup.sh,不会创建系统集群),或设置 LIANKE_DATABASE_URL",
			"as root run `apt-get install postgresql` (deploy/setup.sh does it without creating a system cluster), or set LIANKE_DATABASE_URL")
	errOldPostgres = fault.New(fault.Unavailable, "embedded.old_postgres",
		"找到的 PostgreSQL 版本过低({found}),至少需要 {need}", "the installed PostgreSQL {found} is too old, {need} or newer is needed").
		WithHint("请安装 postgresql-{need} 或更新版本", "install postgresql-{need} or newer")
	errVersion = fault.New(fault.Precondition, "embedded.version",
		"数据目录由 PostgreSQL {data} 创建,而这台机器只有 {have}", "the data directory was made by PostgreSQL {data}, but this machine has {have}").
		WithHint("升级步骤:1) apt-get install postgresql-{data};2) lianke backup FILE;3) 移走 {dir};4) 卸载 postgresql-{data};5) lianke restore FILE",
			"to upgrade: 1) apt-get install postgresql-{data}; 2) lianke backup FILE; 3) move {dir} away; 4) remove postgresql-{data}; 5) lianke restore FILE")
	errDenied = fault.New(fault.Forbidden, "embedded.denied",
		"无权使用数据目录 {dir}", "the data directory {dir} cannot be used by this user").
		WithHint("请以创建它的用户运行,或用 --data-dir 指定其他目录", "run as the user who made it, or name another one with --data-dir")
	errTraverse = fault.New(fault.Forbidden, "embedded.traverse",
		"用户 {user} 无法进入 {dir}", "user {user}, as which the database runs, cannot enter {dir}").
		WithHint("请对上级目录执行 chmod o+x,或用 --data-dir 指定其他目录", "run chmod o+x on the directories above it, or name another one with --data-dir")
	errStart = fault.New(fault.Unavailable, "embedded.start",
		"{server} 未能启动", "{server} did not start").
		WithHint("请查看日志 {log}", "its log is {log}")
	errForeign = fault.New(fault.Conflict, "embedded.foreign",
		"目录 {dir} 不是 PostgreSQL 数据目录,且不为空", "{dir} is not empty and not a PostgreSQL data directory").
		WithHint("请移走该目录,或用 --data-dir 指定其他目录", "move it away, or name another data directory with --data-dir")
	errBusy = fault.New(fault.Unavailable, "embedded.busy",
		"另一个 lianke 进程正在启动或停止 {dir}", "another lianke process has been starting or stopping {dir} for a long time").
		WithHint("请稍后重试;lianke doctor 会显示详情", "try again later; `lianke doctor` shows the state")
	errInUse = fault.New(fault.Conflict, "embedded.in_use",
		"数据目录 {dir} 正在被其他 lianke 进程使用", "the data directory {dir} is in use by another lianke process").
		WithHint("请先停止它", "stop it first")
	errMoved = fault.New(fault.Conflict, "embedded.moved",
		"数据目录 {dir} 在数据库运行时被移动过(进程 {pid})", "the data directory {dir} was moved while its database runs (process {pid})").
		WithHint("请先结束进程 {pid}(kill -INT {pid}),再重试", "end that process (kill -INT {pid}), then try again")
)
