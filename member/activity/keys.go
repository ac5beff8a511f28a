package activity

// PropType is the JSON type of a property, with its unit where it has one.
type PropType string

// The property types.
const (
	PropString PropType = "string"
	PropCount  PropType = "integer"
	PropFen    PropType = "integer, fen"
	PropPoints PropType = "integer, points"
)

// Prop is one typed property of a key.
type Prop struct {
	Name string
	Type PropType
}

// KeySpec describes an activity key of the house. Other keys are kept as sent, their properties untyped.
type KeySpec struct {
	Key   string
	About string
	Props []Prop
}

// Keys of feed rows that announce a change of the member rather than an activity.
const (
	KeyProfile  = "$profile"
	KeyIdentity = "$identity"
)

// The activity keys of the house.
const (
	KeyMemberRegistered  = "member_registered"
	KeyProductViewed     = "product_viewed"
	KeyCartAdded         = "cart_added"
	KeyCartAbandoned     = "cart_abandoned"
	KeyOrderPaid         = "order_paid"
	KeyProductPurchased  = "product_purchased"
	KeyOrderShipped      = "order_shipped"
	KeyOrderReceived     = "order_received"
	KeyOrderReturned     = "order_returned"
	KeyCouponIssued      = "coupon_issued"
	KeyCouponUsed        = "coupon_used"
	KeyCouponExpired     = "coupon_expired"
	KeyPointsEarned      = "points_earned"
	KeyPointsSpent       = "points_spent"
	KeyPointsExpired     = "points_expired"
	KeyTierChanged       = "tier_changed"
	KeyMessageSent       = "message_sent"
	KeyMessageDelivered  = "message_delivered"
	KeyMessageOpened     = "message_opened"
	KeyMessageClicked    = "message_clicked"
	KeyMessageFailed     = "message_failed"
	KeyAccountFollowed   = "account_followed"
	KeyAccountUnfollowed = "account_unfollowed"
	KeySegmentEntered    = "segment_entered"
	KeySegmentLeft       = "segment_left"
	KeyChatStarted       = "chat_started"
	KeyTicketOpened      = "ticket_opened"
	KeyContentShared     = "content_shared"
)

// Specs returns the keys of the house in their documented order; docs/activities.md is generated from it.
func Specs() []KeySpec {
	product := []Prop{{"sku", PropString}, {"category", PropString}, {"price_fen", PropFen}, {"quantity", PropCount}}
	order := []Prop{{"order_no", PropString}}
	coupon := []Prop{{"template", PropString}, {"code", PropString}}
	points := []Prop{{"programme", PropString}, {"points", PropPoints}}
	message := []Prop{{"channel", PropString}, {"journey", PropString}, {"node", PropString}, {"template", PropString}, {"reason", PropString}}
	account := []Prop{{"account", PropString}}
	segment := []Prop{{"segment", PropString}}
	return []KeySpec{
		{KeyMemberRegistered, "became a member 注册", []Prop{{"source", PropString}}},
		{KeyProductViewed, "looked at a product 浏览商品", product},
		{KeyCartAdded, "put a product into the cart 加购", product},
		{KeyCartAbandoned, "left a cart behind 弃购", nil},
		{KeyOrderPaid, "paid an order 支付订单", []Prop{{"order_no", PropString}, {"touchpoint", PropString}, {"store", PropString}, {"associate", PropString}, {"amount_fen", PropFen}, {"quantity", PropCount}}},
		{KeyProductPurchased, "bought one product of an order 购买商品", []Prop{{"order_no", PropString}, {"sku", PropString}, {"category", PropString}, {"brand", PropString}, {"touchpoint", PropString}, {"store", PropString}, {"quantity", PropCount}, {"amount_fen", PropFen}}},
		{KeyOrderShipped, "the order left 发货", order},
		{KeyOrderReceived, "the order arrived 签收", order},
		{KeyOrderReturned, "returned goods; amounts are negative 退货", []Prop{{"order_no", PropString}, {"return_of", PropString}, {"touchpoint", PropString}, {"store", PropString}, {"amount_fen", PropFen}, {"quantity", PropCount}}},
		{KeyCouponIssued, "received a coupon 发券", coupon},
		{KeyCouponUsed, "used a coupon 用券", append(coupon[:2:2], Prop{"order_no", PropString})},
		{KeyCouponExpired, "a coupon ran out 券过期", coupon},
		{KeyPointsEarned, "earned points 获得积分", points},
		{KeyPointsSpent, "spent points 使用积分", points},
		{KeyPointsExpired, "points ran out 积分过期", points},
		{KeyTierChanged, "moved to another tier 等级变更", []Prop{{"programme", PropString}, {"from", PropString}, {"to", PropString}}},
		{KeyMessageSent, "a message was accepted by the provider 消息已发送", message},
		{KeyMessageDelivered, "a message arrived 消息已送达", message},
		{KeyMessageOpened, "opened a message 消息已打开", message},
		{KeyMessageClicked, "followed a link of a message 消息已点击", message},
		{KeyMessageFailed, "the provider refused a message or could not deliver it; reason says why. What is held back before the provider is asked (consent, caps, quiet hours, no address) logs nothing 消息失败", message},
		{KeyAccountFollowed, "followed an account 关注", account},
		{KeyAccountUnfollowed, "unfollowed an account 取消关注", account},
		{KeySegmentEntered, "entered a segment 进入人群", segment},
		{KeySegmentLeft, "left a segment 离开人群", segment},
		{KeyChatStarted, "began a conversation 发起会话", nil},
		{KeyTicketOpened, "opened a ticket 提交工单", nil},
		{KeyContentShared, "shared content 分享", nil},
	}
}
