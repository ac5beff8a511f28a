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

	ErrCell = fault.New(fault.Invalid, "org.cell", "触点服务设置有误", "the cell of the matrix is wrong").
		WithHint("请按各字段提示修改", "mend the fields named")

	ErrNotOffered = fault.New(fault.Precondition, "org.not_offered", "{here}不提供{service},请到{nearest}", "{here} does not offer {service}; {nearest} does").
			WithHint("请引导会员到{nearest}", "send the member to {nearest}")

	ErrHandedOver = fault.New(fault.Precondition, "org.handed_over", "{here}将{service}转交{nearest}", "{here} hands {service} over to {nearest}").
			WithHint("请发送{nearest}的链接或二维码", "send the link or QR code of {nearest}")

	ErrOfferedNowhere = fault.New(fault.Precondition, "org.offered_nowhere", "{here}不提供{service},目前也没有其他触点提供", "{here} does not offer {service}, and no other touchpoint does").
				WithHint("请管理员在触点服务矩阵中开通", "an administrator can open it in the matrix of touchpoints and services")

	ErrNoReturn = fault.New(fault.Precondition, "org.no_return", "{bought}购买的商品不能退到 {store},请退到{who}", "what was bought at {bought} cannot be returned to {store}; {who} takes it").
			WithHint("请退到{who}", "return it to {who}")

	ErrNoReceiver = fault.New(fault.NotFound, "org.no_receiver", "没有门店 {store}", "there is no store {store}").
			WithHint("请核对门店编码", "check the code of the store")
)
