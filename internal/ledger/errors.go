package ledger

import "github.com/lianke/lianke/internal/fault"

// The faults of the kernel.
var (
	ErrInvalid = fault.New(fault.Invalid, "ledger.invalid", "记账请求有误", "the ledger transaction is malformed").
			WithHint("请按字段提示修改", "correct the fields named")

	ErrUnbalanced = fault.New(fault.Invalid, "ledger.unbalanced", "分录借贷不平,差额 {sum}", "the postings do not sum to zero but to {sum}").
			WithHint("请检查各分录金额", "check the amounts of the postings")

	ErrNoAccount = fault.New(fault.NotFound, "ledger.no_account", "账簿 {book} 中没有账户 {account}", "book {book} has no account {account}").
			WithHint("请先开立账户", "open the account first")

	ErrAccountExists = fault.New(fault.Conflict, "ledger.account_exists", "账户 {account} 已以其他方式开立", "account {account} is open with another lane or floor").
				WithHint("请使用已开立的账户,或换一个账户名", "use the account as it is open, or another name")

	ErrBookExists = fault.New(fault.Conflict, "ledger.book_exists", "账簿 {book} 已以其他资产开立", "book {book} is open in another asset").
			WithHint("请使用已开立的账簿,或换一个账簿名", "use the book as it is open, or another name")

	ErrInsufficient = fault.New(fault.Precondition, "ledger.insufficient", "账户 {account} 余额不足", "account {account} has not enough").
			WithHint("请减少金额或先充值", "lower the amount or fund the account")

	ErrOverflow = fault.New(fault.Precondition, "ledger.overflow", "账户 {account} 的余额超出可表示范围", "the balance of account {account} would leave the range of 64 bits").
			WithHint("请检查金额与单位", "check the amount and its unit")

	ErrKeyReused = fault.New(fault.Conflict, "ledger.key_reused", "幂等键 {key} 已用于其他内容", "key {key} was used with another input").
			WithHint("同一请求重试时内容须一致,新请求请换新键", "repeat a request unchanged, or use a fresh key for a new one")

	ErrBusy = fault.New(fault.Unavailable, "ledger.busy", "记账排队已满", "too many transactions are waiting").
		WithHint("请稍后重试", "try again shortly")
)
