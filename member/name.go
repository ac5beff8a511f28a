package member

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/mozillazg/go-pinyin"
	"golang.org/x/text/unicode/norm"

	"github.com/lianke/lianke/internal/crypt"
)

// surnames are read differently as surnames than pinyin dictionaries read them first.
var surnames = map[rune]string{
	'曾': "zeng", '单': "shan", '解': "xie", '仇': "qiu", '朴': "piao", '查': "zha", '区': "ou", '盖': "ge", '翟': "zhai",
	'任': "ren", '华': "hua", '尉': "yu", '宓': "mi", '召': "shao", '员': "yun", '冼': "xian", '缪': "miao", '乐': "yue",
	'种': "chong", '秘': "bi", '折': "she", '黑': "he", '盛': "sheng", '燕': "yan", '万': "wan", '牟': "mu", '覃': "qin", '重': "chong",
}

// commonSurnames are the first characters of over 95 % of Chinese names. A text that starts otherwise is taken for a
// nickname, which says nothing about who somebody is.
const commonSurnames = "肖闫付代仝佘逯晁戎卞滑应王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐冯于董萧程曹袁邓许傅沈曾彭吕苏卢蒋蔡贾丁魏薛叶阎余潘杜戴夏钟汪田任姜范方石" +
	"姚谭廖邹熊金陆郝孔白崔康毛邱秦江史顾侯邵孟龙万段雷钱汤尹黎易常武乔贺赖龚文庞樊兰殷施陶洪翟安颜倪严牛温芦季俞章鲁葛伍韦申尤毕聂丛焦向柳邢路岳齐梅" +
	"莫庄辛管祝左涂谷祁时舒耿牟卜詹关苗凌费纪靳盛童欧甄项曲成游阳裴席卫查屈鲍位覃霍翁隋植甘景薄单包司柏宁柯阮桂闵解强柴华车冉房边辜吉饶刁瞿戚丘古米池滕晋苑邬臧畅宫来嵇苟全褚廉简娄盖符奚木穆党燕郎邸冀谈姬屠连郜晏栾郁商蒙计喻揭窦迟宇敖糜鄢冷卓花仇艾蓝都巩稽井练仲乐虞卞封竺冼原官衣楚佟栗匡宗应台巫鞠僧桑荆谌银扬明沙薄伏岑习胥保和蔺欧阳上官司马诸葛慕容尉迟皇甫令狐夏侯司徒端木"

// tidyName composes and strips a name for comparison: no spaces, no middle dots, lower case.
func tidyName(s string) string {
	s = norm.NFKC.String(s)
	return strings.ToLower(strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || unicode.IsControl(r) || r == '·' || r == '•' || r == '‧' || r == '・' || r == '.' {
			return -1
		}
		return r
	}, s))
}

func syllables(name string) []string {
	args := pinyin.NewArgs()
	out := make([]string, 0, utf8.RuneCountInString(name))
	for i, r := range name {
		if s, ok := surnames[r]; ok && i == 0 {
			out = append(out, s)
			continue
		}
		if p := pinyin.SinglePinyin(r, args); len(p) > 0 {
			out = append(out, p[0])
			continue
		}
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			out = append(out, string(r))
		}
	}
	return out
}

// NameSound returns a real name by sound (沈若溪 and 沈若曦 are both shen-ruo-xi), or "" for what is no real name: a
// nickname, a masked name, a title.
func NameSound(name string) string {
	n := tidyName(name)
	runes := []rune(n)
	han := 0
	for _, r := range runes {
		if unicode.Is(unicode.Han, r) {
			han++
		} else if !unicode.IsLetter(r) && r != '-' && r != '\'' {
			return "" // masked, or decorated
		}
	}
	switch {
	case han == len(runes) && han >= 2 && han <= 6:
		if !strings.ContainsRune(commonSurnames, runes[0]) {
			return ""
		}
		for _, title := range []string{"先生", "女士", "小姐", "老师", "太太", "同学", "某", "总", "经理"} {
			if strings.HasSuffix(n, title) {
				return ""
			}
		}
		return strings.Join(syllables(n), "-")
	case han == 0 && len(strings.Fields(norm.NFKC.String(name))) >= 2 && len(runes) >= 5:
		return n
	default:
		return ""
	}
}

// Token kinds of names and phones.
const (
	tokenName   = "name"
	tokenBigram = "name2"
	tokenPinyin = "py" // full, initials, and prefixes of both at syllable ends
	tokenTail   = "phone4"
)

// tokens are the blind tokens under which a value is found.
func (s *Secrets) tokens(p crypt.Personal) [][16]byte {
	switch p.Kind() {
	case crypt.KindName:
		return s.nameTokens(p.Reveal())
	case crypt.KindPhone:
		if v := p.Reveal(); len(v) >= 4 {
			return [][16]byte{s.ring.Token(tokenTail, v[len(v)-4:])}
		}
	}
	return nil
}

func (s *Secrets) nameTokens(name string) [][16]byte {
	n := tidyName(name)
	if n == "" {
		return nil
	}
	out := [][16]byte{s.ring.Token(tokenName, n)}
	runes := []rune(n)
	if len(runes) > 32 {
		runes = runes[:32]
	}
	for i := 0; i+2 <= len(runes) && hasHan(n); i++ {
		out = append(out, s.ring.Token(tokenBigram, string(runes[i:i+2])))
	}
	seen := map[string]bool{}
	add := func(py string) {
		if len(py) >= 2 && len(py) <= 64 && !seen[py] {
			seen[py] = true
			out = append(out, s.ring.Token(tokenPinyin, py))
		}
	}
	full, initials := "", ""
	parts := syllables(n)
	if !hasHan(n) { // a Latin name is found by its prefixes
		for i := 2; i <= min(len(runes), 12); i++ {
			add(string(runes[:i]))
		}
		add(n)
		return out
	}
	for i, part := range parts {
		if i >= 8 {
			break
		}
		full += part
		initials += part[:1]
		add(full)
		add(initials)
	}
	return out
}

// SearchTokens returns the tokens all of which a secret must have to be found by what somebody typed, or nil if the text
// is no name and no phone tail.
func (s *Secrets) SearchTokens(text string) [][]byte {
	n := tidyName(text)
	var toks [][16]byte
	switch {
	case len(n) == 4 && strings.Trim(n, "0123456789") == "":
		toks = [][16]byte{s.ring.Token(tokenTail, n)}
	case hasHan(n):
		runes := []rune(n)
		if len(runes) < 2 || len(runes) > 32 {
			return nil
		}
		for i := 0; i+2 <= len(runes); i++ {
			toks = append(toks, s.ring.Token(tokenBigram, string(runes[i:i+2])))
		}
	case len(n) >= 2 && strings.IndexFunc(n, unicode.IsDigit) < 0:
		toks = [][16]byte{s.ring.Token(tokenPinyin, strings.ReplaceAll(n, "'", ""))}
	}
	out := make([][]byte, len(toks))
	for i := range toks {
		out[i] = toks[i][:]
	}
	return out
}

func hasHan(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return unicode.Is(unicode.Han, r) }) >= 0
}
