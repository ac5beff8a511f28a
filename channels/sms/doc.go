// Package sms sends short messages through Aliyun (dysms, 2017-05-25) and receives its pushes.
//
//   - Requests are signed with ACS3-HMAC-SHA256 (sign.go); no SDK.
//   - Content.Template is the TemplateCode, Content.Fields its variables, Content.Text what the member reads: the text is
//     held against the duties of marketing (【签名】 in front by the provider, 拒收请回复R at the end) before anything leaves.
//   - The send key travels as OutId and comes back in receipts.
//   - A lost answer is unknown. Reconcile asks the provider, by number and day, whether it took a message with that OutId.
//   - Pushes (callback.go) carry no signature at Aliyun; the address does: a token in its path, compared in constant time.
package sms
