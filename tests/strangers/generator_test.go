package strangers

import (
	"crypto/sha1"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"lavka/libs/service/standardwebhooks"
)

// request is a generated request.
type request struct {
	op     *operation
	path   string // escaped
	query  string // as it is sent
	header http.Header
	body   []byte
	plain  bool   // it is meant to be valid, in the plainest form of its values
	what   string // what was done to it
}

// member is a member of a body: a value as JSON text.
type member struct{ name, text string }

// generator makes requests from the schemas of a contract. What the shop has answered
// before is in its pools, since most ids, tokens and cursors can't be made up.
type generator struct {
	rng       *rand.Rand
	pools     map[string][]string
	passwords map[string]string // by login
	tokens    map[string]string // access tokens by caller: user, admin, victim
	keys      []string          // the payment provider's
	secret    string            // the payment provider's, for signatures in the header
	unknown   int               // signed payments of unknown users, for which billing waits
	serial    int
}

const digits = "0123456789abcdefghijklmnopqrstuvwxyz"

func (g *generator) one(of ...string) string { return of[g.rng.IntN(len(of))] }

func (g *generator) chance(percent int) bool { return g.rng.IntN(100) < percent }

func (g *generator) letters(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = digits[g.rng.IntN(len(digits))]
	}
	return string(b)
}

// pooled returns a value that the shop has given out, most often one of the latest.
func (g *generator) pooled(kind string) (string, bool) {
	pool := g.pools[kind]
	if len(pool) == 0 {
		return "", false
	}
	if g.chance(80) {
		pool = pool[max(0, len(pool)-5):]
	}
	return g.one(pool...), true
}

func (g *generator) learn(kind, value string) {
	if value != "" {
		g.pools[kind] = append(g.pools[kind], value)
	}
}

// kind returns the pool for a parameter or member of an operation.
func kind(o *operation, name string) string {
	switch name {
	case "id":
		if o.id == "endSession" {
			return "sessions"
		}
		return strings.Trim(strings.Split(o.path, "/")[1], "/") // users, products, bills, purchases
	case "user_id":
		return "customers"
	case "bill_id":
		if o.id == "createPurchase" {
			return "funded"
		}
		return "bills"
	case "transaction_id":
		if o.id == "getCredit" || o.id == "paymentReversal" {
			return "credited"
		}
	case "product_id":
		return "products"
	case "token":
		if o.id == "confirmPasswordReset" {
			return "resets"
		}
		return "activation"
	case "cursor":
		return "cursor of " + o.id
	case "If-Match", "If-None-Match":
		return "tags"
	}
	return name
}

// value returns a valid value: as text for parameters, as JSON text for members.
func (g *generator) value(o *operation, s *schemas, name string, schema any, asJSON bool) string {
	text, isText := g.text(o, s, name, s.of(schema))
	if asJSON && isText {
		return quoted(text)
	}
	return text
}

func (g *generator) text(o *operation, s *schemas, name string, schema object) (text string, isText bool) {
	types, _ := schema["type"].(string)
	isText = types == "string"
	if enum, ok := schema["enum"].([]any); ok {
		return enum[g.rng.IntN(len(enum))].(string), isText
	}
	if g.chance(85) {
		if v, ok := g.pooled(kind(o, name)); ok {
			return v, isText
		}
	}
	switch types {
	case "boolean":
		return strconv.FormatBool(g.chance(60)), false
	case "integer":
		low, high := bounds(schema)
		if high > 1_000_000 && g.chance(70) {
			high = 1_000_000_000
		}
		return strconv.FormatInt(max(low, 1)+g.rng.Int64N(high-max(low, 1)), 10), false
	case "array":
		items := []string{}
		for range 1 + g.rng.IntN(3) {
			items = append(items, g.value(o, s, name, schema["items"], true))
		}
		return "[" + strings.Join(items, ",") + "]", false
	case "object":
		if schema["properties"] == nil { // any names
			return string(encode([]member{{g.letters(8), g.value(o, s, "", schema["additionalProperties"], true)}})), false
		}
		return string(encode(g.membersOf(o, s, schema))), false
	case "number":
		if g.chance(70) {
			return fmt.Sprintf("%d.%02d", g.rng.IntN(20), 1+g.rng.IntN(99)), false
		}
		return strconv.FormatInt(1+g.rng.Int64N(70_000_000_000_000), 10), false
	}
	if schema["format"] == "date-time" { // any from and to are at most 31 days apart
		days := g.rng.IntN(15)
		if name == "from" {
			days = -1 - days
		}
		return time.Now().UTC().AddDate(0, 0, days).Format(time.RFC3339), true
	}
	if schema["format"] == "uuid" {
		return fmt.Sprintf("01976b1e-%04x-7000-8000-%012x", g.rng.IntN(1<<16), g.rng.Int64N(1<<48)), true
	}
	low, high := lengths(schema)
	texts := []string{
		g.letters(low + g.rng.IntN(min(high, low+24)-low+1)), g.letters(max(low, min(high, 20))), fmt.Sprintf("%x", sha1.Sum([]byte(g.letters(9)))),
		`"` + g.letters(6) + `"`, "самовар " + g.letters(4), "*", "https://pictures.example/" + g.letters(6),
	}
	if pattern, ok := schema["pattern"].(string); ok {
		form := regexp.MustCompile(pattern)
		texts = slices.DeleteFunc(texts, func(text string) bool { return !form.MatchString(text) })
	}
	texts = slices.DeleteFunc(texts, func(text string) bool { n := utf8.RuneCountInString(text); return n < low || n > high })
	if len(texts) == 0 {
		panic(fmt.Sprintf("no text for %s of %s: add one that matches %v", name, o.id, schema))
	}
	return g.one(texts...), true
}

func bounds(schema object) (low, high int64) {
	low, high = 1, 1<<62
	if n, ok := schema["minimum"].(json.Number); ok {
		low, _ = n.Int64()
	}
	if n, ok := schema["maximum"].(json.Number); ok {
		high, _ = n.Int64()
	}
	return low, high
}

func lengths(schema object) (low, high int) {
	low, high = 0, 4000
	if n, ok := schema["minLength"].(json.Number); ok {
		low, _ = strconv.Atoi(n.String())
	}
	if n, ok := schema["maxLength"].(json.Number); ok {
		high, _ = strconv.Atoi(n.String())
	}
	return low, high
}

func quoted(text string) string {
	b, err := json.Marshal(text)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// odd texts are ones that software has stumbled over.
var odd = []string{
	"", " ", "\t", "\x00", "a\x00b", "\n", "é", "e\u0301", "Ω≈ç√", "тарелка", "日本語", "🫖🫖", "\u202egpj", "\ufeff", "\u200b", "İ", "ß", "K", "ſ",
	"'; DROP TABLE users; --", `"`, `\`, "%", "_", "%25", "%s%n", "${jndi:x}", "<script>", "../../etc/passwd", "null", "NaN", "Infinity", "true", "-0", "0x10", "1e9",
	"1_000", "١٢٣", "0123", "+1", " 1", "9223372036854775808", "-9223372036854775809", "\u2028", "admin", "ADMIN", "me",
}

// boundary returns a value at or just beyond the bounds of its schema.
func (g *generator) boundary(s *schemas, schema any, asJSON bool) string {
	o := s.of(schema)
	switch o["type"] {
	case "integer":
		low, high := bounds(o)
		return g.one(fmt.Sprint(low), fmt.Sprint(low-1), fmt.Sprint(high), fmt.Sprint(high+1), "0", "-1", "1", "9007199254740991", "9007199254740992", "9223372036854775807",
			"-9223372036854775808", "9223372036854775808", "18446744073709551616", "1"+strings.Repeat("0", 400))
	case "number":
		return g.one("0.01", "0.009", "0.001", "0", "-0.01", "70000000000000", "70000000000000.00", "70000000000000.01", "70000000000001", "0.10", "1.000", "1e2", "1E-2", "-0", "0.1"+strings.Repeat("0", 300))
	}
	low, high := lengths(o)
	n := []int{low, low - 1, high, high + 1, high - 1}[g.rng.IntN(5)]
	part := g.one("x", "ж", "🫖", "Z9")
	if !asJSON { // the gateway's limit for headers, the URL included, is 16 KiB
		n = min(n, 8000/len(url.QueryEscape(part)))
	}
	text := strings.Repeat(part, max(n, 0))
	if o["enum"] != nil {
		text = g.one("", "Active", "pending ", "x")
	}
	if asJSON {
		return quoted(text)
	}
	return text
}

// generate returns the next request of an operation.
func (g *generator) generate(o *operation, s *schemas) *request {
	g.serial++
	r := &request{op: o, header: http.Header{}, what: "valid", plain: true}
	params := map[string][]string{}
	for _, p := range o.params {
		if p.required || g.chance(40) {
			params[p.name] = []string{g.value(o, s, p.name, p.schema, false)}
		}
	}
	if params["cursor"] != nil { // it may be of another order, or made up
		r.plain, r.what = false, "valid, with some cursor"
	}
	members := g.members(o, s)
	token := g.token(o)
	if o.id == "listProducts" && params["status"] != nil { // only active is for users
		token = g.tokens["admin"]
	}
	contentType, extra := []string{"application/json"}, ""
	spoilt := func(format string, args ...any) { r.plain, r.what = false, fmt.Sprintf(format, args...) }

	// What is done to it. Of an operation that has no such part, the request stays valid.
	text := func(asJSON bool, v string) string {
		if asJSON {
			return quoted(v)
		}
		return v
	}
	pick := g.rng.IntN(100)
	switch {
	case pick < 35:
	case pick < 55 && len(o.params) > 0:
		p := o.params[g.rng.IntN(len(o.params))]
		switch g.rng.IntN(5) {
		case 0:
			params[p.name] = []string{g.boundary(s, p.schema, false)}
			spoilt("%s at a bound", p.name)
		case 1:
			params[p.name] = append(params[p.name], g.value(o, s, p.name, p.schema, false), g.value(o, s, p.name, p.schema, false))
			spoilt("%s twice", p.name)
		case 2:
			params[p.name] = []string{strings.Repeat(g.one("x", "1", "ж"), 1500)}
			spoilt("%s too long", p.name)
		default:
			params[p.name] = []string{g.one(odd...)}
			spoilt("%s odd", p.name)
		}
	case pick < 60:
		extra = g.one("date_from=2026-01-01", "Limit=1", "limit%00=1", "=", "x", "%zz", "a;b", "%ff=1", "limit[]=1", "cursor.x=1", "utm_source=mail&utm_source=mail", strings.Repeat("y", 3000)+"=1")
		spoilt("query %.40s", extra)
	case pick < 66:
		token = g.one("", "x", g.tokens["user"]+"x", "eyJhbGciOiJub25lIn0.e30.", strings.Repeat("a", 5000), g.tokens["user"], g.tokens["admin"])
		spoilt("another token")
	case pick < 70 && (o.body != nil || g.chance(30)):
		contentType = [][]string{nil, {"text/plain"}, {"application/x-www-form-urlencoded"}, {"multipart/form-data; boundary=x"}, {"application/json; charset=latin1"}, {"application/json; charset=UTF-8"}, {"nonsense"},
			{"application/json", "application/json"}, {"application/problem+json"}, {"APPLICATION/JSON"}}[g.rng.IntN(10)]
		spoilt("content type %q", contentType)
		if g.chance(15) {
			r.header.Set("Content-Encoding", "gzip")
		}
	case len(members) > 0 && pick < 90:
		i := g.rng.IntN(len(members))
		m := &members[i]
		schema := s.of(o.body)["properties"].(object)[m.name]
		switch g.rng.IntN(9) {
		case 0, 1:
			m.text = g.boundary(s, schema, true)
			spoilt("%s at a bound", m.name)
		case 2:
			m.text = g.one(`"1"`, `""`, "1", "-1", "1.5", "1.0", "1e3", "1e400", "true", "null", "[]", "{}", `[1]`, `{"a":1}`, `"2026-01-01"`)
			spoilt("%s of another type", m.name)
		case 3:
			spoilt("without %s", m.name)
			members = slices.Delete(members, i, i+1)
		case 4:
			members = append(members, member{g.one("x", "admin", "role", "id", strings.ToUpper(m.name), "__proto__", ""), g.one("1", `"x"`, "null", "{}")})
			spoilt("an unknown member")
		case 5:
			members = append(members, *m)
			spoilt("%s twice", m.name)
		case 6:
			m.text = text(true, strings.Repeat(g.one("x", "ж", "🫖"), 1+g.rng.IntN(20_000)))
			spoilt("%s long", m.name)
		case 7:
			m.text = g.one(`"\ud800"`, `"\u0000"`, "\"\xff\"", `"\x"`, "\"\n\"", "01", "+1", ".5", "1.", "NaN", "'x'", "")
			spoilt("%s no valid JSON", m.name)
		default:
			m.text = text(true, g.one(odd...))
			spoilt("%s odd", m.name)
		}
	case pick >= 90 && (o.body != nil || g.chance(30)):
		body := g.one("", " ", "null", "[]", "1", `"x"`, "{", "}", "{}", "{}{}", "{} x", "\xef\xbb\xbf{}", "\xff\xfe{\x00}\x00", strings.Repeat("[", 40), strings.Repeat(`{"a":`, 50)+"1"+strings.Repeat("}", 50),
			`{"":1}`, "a=1&b=2", "<x/>", `{"x": "`+strings.Repeat("x", 70_000)+`"}`, strings.Repeat(" ", 20_000)+"{}", `{"a":1,}`, "{'a':1}", "{/**/}")
		r.body = []byte(body)
		spoilt("the body %.20q", body)
	}
	pays := o.id == "paymentWebhook" || o.id == "verifyPayment"
	if pays && r.body == nil {
		members = g.signed(members)
	}
	if r.body == nil && o.body != nil {
		r.body = encode(members)
	}
	if pays || o.id == "paymentReversal" {
		g.signedInHeader(r, params)
	}
	if r.body != nil {
		for _, t := range contentType {
			r.header.Add("Content-Type", t)
		}
	}
	if token != "" {
		r.header.Set("Authorization", "Bearer "+token)
	}
	// The test's shop trusts this header, so that limits per address are not reached.
	r.header.Set("X-Forwarded-For", fmt.Sprintf("10.%d.%d.%d", g.serial>>16&255, g.serial>>8&255, g.serial&255))
	g.place(r, o, params, extra)
	return r
}

// place writes the parameters into the path, the query and the headers.
func (g *generator) place(r *request, o *operation, params map[string][]string, extra string) {
	r.path = o.path
	var query []string
	for _, p := range o.params {
		for _, v := range params[p.name] {
			switch p.in {
			case "path":
				if v == "" || strings.ContainsAny(v, `/\`) || strings.Trim(v, ".") == "" { // another path; tests/e2e has those
					v = "x"
				}
				r.path = strings.Replace(r.path, "{"+p.name+"}", url.PathEscape(v), 1)
			case "query":
				query = append(query, url.QueryEscape(p.name)+"="+url.QueryEscape(v))
			case "header":
				if !strings.ContainsFunc(v, func(c rune) bool { return c < ' ' || c == 0x7f }) {
					r.header.Add(p.name, v)
				}
			}
		}
	}
	if extra != "" {
		query = append(query, extra)
	}
	r.query = strings.Join(query, "&")
}

// members returns a valid body, or nil if the operation has none.
func (g *generator) members(o *operation, s *schemas) []member {
	schema := s.of(o.body)
	if schema == nil {
		return nil
	}
	return g.credentials(o, g.membersOf(o, s, schema))
}

// membersOf returns valid members of an object.
func (g *generator) membersOf(o *operation, s *schemas, schema object) []member {
	required, _ := schema["required"].([]any)
	properties := schema["properties"].(object)
	names := make([]string, 0, len(properties))
	for name := range properties {
		names = append(names, name)
	}
	slices.Sort(names)
	optional := 50
	if o.id == "createPurchase" { // any expected price is the wrong one
		optional = 10
	}
	var all []member
	for _, name := range names {
		if slices.Contains(required, any(name)) || g.chance(optional) {
			all = append(all, member{name, g.value(o, s, name, properties[name], true)})
		}
	}
	return all
}

// credentials makes most logins and passwords ones that belong together.
func (g *generator) credentials(o *operation, all []member) []member {
	set := func(name, text string) {
		for i := range all {
			if all[i].name == name {
				all[i].text = quoted(text)
			}
		}
	}
	switch o.id {
	case "register":
		set("password", "tall grass "+g.letters(12))
		if g.chance(90) {
			set("login", fmt.Sprintf("%s%d", g.letters(4), g.serial))
		}
	case "login", "newActivation":
		pool := "active"
		if o.id == "newActivation" {
			pool = "inactive"
		}
		if login, ok := g.pooled(pool); ok {
			set("login", login)
			if g.chance(85) {
				set("password", g.passwords[login])
			}
		}
	case "confirmPasswordReset":
		set("new_password", "mown grass "+g.letters(12))
	case "changePassword":
		set("new_password", "mown grass "+g.letters(12))
		if g.chance(85) {
			set("old_password", g.passwords["victim"])
		}
	}
	return all
}

// token returns the access token of a caller that may use the operation.
func (g *generator) token(o *operation) string {
	switch {
	case slices.Contains([]string{"changePassword", "listSessions", "endSession", "endOtherSessions"}, o.id):
		return g.tokens["victim"]
	case o.role == "support":
		return g.tokens["admin"]
	case o.role != "":
		return g.tokens[o.role]
	case g.chance(20):
		return g.tokens["user"]
	}
	return ""
}

// signed signs most payments, as the provider does: over the values as they are written.
func (g *generator) signed(all []member) []member {
	values := map[string]string{}
	for _, m := range all {
		values[m.name] = m.text
	}
	if !slices.Contains(g.pools["customers"], values["user_id"]) {
		if g.unknown++; g.unknown > 2 {
			return all
		}
	}
	sum := sha1.Sum(fmt.Appendf(nil, "%s:%s:%s:%s:%s", g.keys[0], values["transaction_id"], values["user_id"], values["bill_id"], values["amount"]))
	for i := range all {
		if all[i].name == "signature" && g.chance(85) && len(all[i].text) == 42 {
			all[i].text = fmt.Sprintf(`"%x"`, sum)
		}
	}
	return all
}

// signedInHeader signs some payments in their headers. Of the others, most have no such header,
// since any makes the signature in the body count for nothing.
func (g *generator) signedInHeader(r *request, params map[string][]string) {
	if r.plain || g.chance(70) {
		for _, name := range []string{"webhook-id", "webhook-timestamp", "webhook-signature"} {
			delete(params, name)
		}
	}
	keys, err := standardwebhooks.ParseKeys(g.secret)
	if err != nil {
		panic(err)
	}
	if g.chance(30) || r.op.id == "paymentReversal" && g.chance(70) { // which has no other signature
		keys[0].Sign(r.header, "msg_"+g.letters(8), time.Now(), r.body)
	}
}

func encode(members []member) []byte {
	var b strings.Builder
	b.WriteByte('{')
	for i, m := range members {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(quoted(m.name) + ":" + m.text)
	}
	b.WriteByte('}')
	return []byte(b.String())
}
