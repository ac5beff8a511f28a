package org

import "github.com/lianke/lianke/internal/fault"

// The faults of the organisation.
var (
	ErrTerms = fault.New(fault.Invalid, "org.terms", "合同条款有误", "the terms of the contract are wrong").
			WithHint("请按各字段提示修改", "mend the fields named")

	ErrContract = fault.New(fault.Invalid, "org.contract", "合同信息有误", "the contract is wrong").
			WithHint("请按各字段提示修改", "mend the fields named")

	ErrNoContract = fault.New(fault.NotFound, "org.no_contract", "没有合同 {contract}", "there is no contract {contract}").
			WithHint("请核对合同编号", "check the code of the contract")

	ErrContractExists = fault.New(fault.Conflict, "org.contract_exists", "合同 {contract} 已存在", "contract {contract} exists already").
				WithHint("修改已有合同会产生新版本", "change the existing contract, which makes a new version")

	ErrStale = fault.New(fault.Conflict, "org.stale", "合同已被他人修改", "the contract was changed by somebody else").
			WithHint("请刷新后重试", "reload it and try again")
)
