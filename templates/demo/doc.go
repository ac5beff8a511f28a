// Package demo makes the demo brand 知更集 Robin & Co. out of real purchases and seeded people. It is pure: the same seed
// and day give the same files, byte for byte. The command `lianke demo` imports them through the public import contract
// and walks the members through journeys.
//
// # What is real
//
// Purchases, returns, prices and times come from Online Retail (data/README.md, CC0): whole invoices of 3,055 known
// customers and the shop's unidentified sales. £1 becomes ¥10 (1,000 fen), which is exact for every price in the file.
// Dates are shifted by whole days so that the last one is yesterday. The shop never sold on Saturdays; after the shift that
// hole falls on some weekday, so half of the next day's consumer purchases (by invoice hash; never returns) move there.
//
// # What is set aside, with its reason
//
// Lines that are no sale to a consumer or partner do not become orders: stock corrections (price 0 without a customer, and
// negative quantities outside a return), bad-debt adjustments, marketplace commission, bank charges, donations, samples and
// manual corrections of the books, and the two mistaken giant orders with their cancellations. World.Aside lists them, so
// that imported plus set aside equals the source file per invoice and SKU, to the unit and the fen.
//
// # What is seeded
//
// Names, phones, accounts at touchpoints, devices, consents and browsing. World.People is the truth about who is who, with
// the time each identifier was theirs: households that share a phone, shared devices, re-issued phones and re-bound WeChat
// accounts. Large buyers (average invoice above £800 or net above £8,000) are partners, not members.
package demo
