package demo

// Org is one unit of the brand's organisation.
type Org struct {
	Code, Parent, Name, Kind, Entity string
	Province, City, District         string
	Longitude, Latitude              string
	Associates                       []string // of stores: the people customers meet
}

// Entity is a legal and tax subject.
type Entity struct {
	Code, Name, TaxNo, Taxpayer string
}

// Entities of the brand and its partners. The tax numbers are fictional and carry no valid check digit.
var Entities = []Entity{
	{"robin", "知更集(杭州)商业有限公司", "91330100DEMO0001X0", "general"},
	{"lingnan", "岭南礼和商贸有限公司", "91440100DEMO0002X0", "general"},
	{"shu", "成都蜀岸生活用品有限公司", "91510100DEMO0003X0", "general"},
	{"huabei", "北京礼集商贸中心", "91110101DEMO0004X0", "small_scale"},
	{"xiaoman", "小满杂货网络工作室", "92330106DEMO0005X0", "small_scale"},
}

// Organisation of 知更集 Robin & Co., top down.
var Organisation = []Org{
	{Code: "hq", Name: "知更集总部", Kind: "headquarters", Entity: "robin", Province: "浙江省", City: "杭州市"},
	{Code: "east", Parent: "hq", Name: "华东直营分公司", Kind: "branch", Entity: "robin", Province: "浙江省", City: "杭州市"},
	{Code: "hubin", Parent: "east", Name: "杭州湖滨路店", Kind: "store", Entity: "robin", Province: "浙江省", City: "杭州市", District: "上城区", Longitude: "120.1640", Latitude: "30.2530", Associates: []string{"周可", "沈蔚"}},
	{Code: "binjiang", Parent: "east", Name: "杭州滨江店", Kind: "store", Entity: "robin", Province: "浙江省", City: "杭州市", District: "滨江区", Longitude: "120.2120", Latitude: "30.2080", Associates: []string{"陆一鸣"}},
	{Code: "wukang", Parent: "east", Name: "上海武康路店", Kind: "store", Entity: "robin", Province: "上海市", City: "上海市", District: "徐汇区", Longitude: "121.4380", Latitude: "31.2080", Associates: []string{"顾念慈", "程小满"}},
	{Code: "wujiaochang", Parent: "east", Name: "上海五角场店", Kind: "store", Entity: "robin", Province: "上海市", City: "上海市", District: "杨浦区", Longitude: "121.5140", Latitude: "31.2990", Associates: []string{"方知远"}},
	{Code: "xinjiekou", Parent: "east", Name: "南京新街口店", Kind: "store", Entity: "robin", Province: "江苏省", City: "南京市", District: "玄武区", Longitude: "118.7840", Latitude: "32.0430", Associates: []string{"许清和"}},
	{Code: "pingjiang", Parent: "east", Name: "苏州平江路店", Kind: "store", Entity: "robin", Province: "江苏省", City: "苏州市", District: "姑苏区", Longitude: "120.6330", Latitude: "31.3150", Associates: []string{"蒋南枝"}},
	{Code: "lingnan", Parent: "hq", Name: "华南总代 岭南礼和", Kind: "partner", Entity: "lingnan", Province: "广东省", City: "广州市"},
	{Code: "dongshankou", Parent: "lingnan", Name: "广州东山口店", Kind: "store", Entity: "lingnan", Province: "广东省", City: "广州市", District: "越秀区", Longitude: "113.2960", Latitude: "23.1250", Associates: []string{"梁思敏"}},
	{Code: "nanshan", Parent: "lingnan", Name: "深圳南山店", Kind: "store", Entity: "lingnan", Province: "广东省", City: "深圳市", District: "南山区", Longitude: "113.9300", Latitude: "22.5330", Associates: []string{"黎家豪"}},
	{Code: "shu", Parent: "hq", Name: "西南代理 蜀岸生活", Kind: "partner", Entity: "shu", Province: "四川省", City: "成都市"},
	{Code: "yulin", Parent: "shu", Name: "成都玉林店", Kind: "store", Entity: "shu", Province: "四川省", City: "成都市", District: "武侯区", Longitude: "104.0560", Latitude: "30.6310", Associates: []string{"罗晓川"}},
	{Code: "jiangbei", Parent: "shu", Name: "重庆江北店", Kind: "store", Entity: "shu", Province: "重庆市", City: "重庆市", District: "江北区", Longitude: "106.5740", Latitude: "29.6060", Associates: []string{"秦朗"}},
	{Code: "north", Parent: "hq", Name: "华北加盟分公司", Kind: "branch", Entity: "robin", Province: "北京市", City: "北京市"},
	{Code: "wudaoying", Parent: "north", Name: "北京五道营店", Kind: "store", Entity: "huabei", Province: "北京市", City: "北京市", District: "东城区", Longitude: "116.4120", Latitude: "39.9480", Associates: []string{"赵京墨"}},
	{Code: "qingdao", Parent: "north", Name: "青岛老城店", Kind: "store", Entity: "huabei", Province: "山东省", City: "青岛市", District: "市南区", Longitude: "120.3200", Latitude: "36.0660", Associates: []string{"孙海宁"}},
	{Code: "xiaoman", Parent: "hq", Name: "网络代销 小满杂货", Kind: "partner", Entity: "xiaoman", Province: "浙江省", City: "杭州市"},
	{Code: "wh-jiaxing", Parent: "hq", Name: "嘉兴总仓", Kind: "warehouse", Entity: "robin", Province: "浙江省", City: "嘉兴市", Longitude: "120.7550", Latitude: "30.7460"},
	{Code: "wh-foshan", Parent: "hq", Name: "佛山分仓", Kind: "warehouse", Entity: "robin", Province: "广东省", City: "佛山市", Longitude: "113.1220", Latitude: "23.0210"},
}

func stores() []Org {
	var out []Org
	for _, o := range Organisation {
		if o.Kind == "store" {
			out = append(out, o)
		}
	}
	return out
}

// Accounts at the platforms, as the import columns name them.
const (
	WeChatSubject  = "robin"
	MiniAppID      = "wx8a1f5e2c7d9b0341" // 知更集小程序
	OfficialAppID  = "wx3c6b9e0f1a2d4857" // 公众号「知更来信」
	TmallShop      = "robin-tmall"        // 知更集天猫旗舰店
	JDShop         = "robin-jd"           // 京东旗舰店
	SourcePOS      = "pos"
	SourceMini     = "miniprogram"
	SourceApp      = "app"
	SourceTmall    = "tmall"
	SourceJD       = "jd"
	SourceOfficial = "wechat"
	SourceB2B      = "b2b"
)

// chineseNames are the products that stand on stage.
var chineseNames = map[string]string{
	"22423": "摄政三层蛋糕架", "22699": "玫瑰摄政茶杯碟", "85123A": "白色心形烛台", "47566": "派对三角旗",
	"85099B": "红色波点大号购物袋", "20725": "红色波点午餐袋", "22502": "柳编野餐篮(小)", "84879": "彩色小鸟挂饰",
	"22086": "五十年代圣诞纸链", "23084": "小兔夜灯", "79321": "辣椒串灯", "22727": "复古红色闹钟",
	"22720": "食品柜三件套铁盒", "22960": "果酱罐礼盒", "22112": "巧克力色热水袋", "21915": "盒装红色口琴",
	"84077": "二战滑翔机玩具", "82484": "白框小黑板", "23284": "“保持冷静”门垫", "22469": "柳编爱心(小)",
}

// Category codes by words of the English name, first match wins.
var categoryWords = []struct{ category, words string }{
	{"christmas", "CHRISTMAS XMAS ADVENT SANTA REINDEER SNOWFLAKE SNOWMAN"},
	{"tea", "TEA TEACUP CAKE CAKESTAND MUG CUP SAUCER COFFEE TEAPOT BAKING CUTLERY JAM JAR KITCHEN BOWL PLATE NAPKINS SPOON LUNCH PANTRY RECIPE"},
	{"bags", "BAG BAGS SHOPPER PURSE"},
	{"lights", "LIGHT LIGHTS T-LIGHT CANDLE CANDLES LAMP LANTERN NIGHT"},
	{"party", "PARTY BUNTING BALLOONS GARLAND BIRTHDAY WRAP RIBBON RIBBONS GIFT"},
	{"paper", "CARD CARDS NOTEBOOK PAPER PEN PENCIL PENCILS STICKERS TISSUES CHALKBOARD"},
	{"toys", "TOY TOYS GAME GLIDER DOLLY PLAYHOUSE CHILDREN CHILDRENS CHILDS SPACEBOY HARMONICA"},
	{"garden", "GARDEN PLANT HERB WATERING BIRD PARASOL PICNIC"},
	{"warm", "HOT WARMER SCARF CUSHION UMBRELLA SLIPPER"},
	{"home", ""},
}
