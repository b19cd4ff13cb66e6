package docs

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// notYet lists the files, by the beginning of their paths, in which the phrases below are allowed for now. "" allows them everywhere. This shows them all:
//
//	go test -count=1 -v -run Phrase ./tests/docs
var notYet = []string{""}

// phrase is wording that this repository does not use.
type phrase struct {
	not     string // a pattern; a space matches any white space, and the pattern matches whole words in any case
	instead string
}

var phrases = []phrase{
	{`ask(s|ed|ing)? again( and again)?`, "retry, repeat the request"},
	{`somebody|whoever|everybody|anybody`, "name the subject: the caller, the client, another process"},
	{`nobody`, "name the subject, or use the passive: no client, no process"},
	{`he|him|his|himself`, "they, them, their, or name the subject"},
	{`(can|could|can't|cannot|to|may|be) be had|is had|was had|are had|not had|had again`, "acquired, available, reproduced"},
	{`(says?|said|saying) so`, "reports it, logs it, returns an error"},
	{`so (many|much)`, "this many, N, as much; or give the number"},
	{`for ever`, "forever, without a limit"},
	{`hears?|heard`, "receives, is notified"},
	{`tells of|told of`, "describes, reports, is notified of"},
	{`(out of|in|within) reach`, "unreachable, reachable"},
	{`(is|are|was|were|be|been) away`, "unreachable, down, gone"},
	{`anew`, "again, from scratch"},
	{`as ever`, "as usual"},
	{`reckons?|reckoned`, "counts, computes, assumes"},
	{`(comes?|came) of it|what came (out|of)`, "the outcome, the result"},
	{`(one|more|connection) too many`, "beyond the limit"},
	{`not any more`, "no longer"},
	{`makes? nothing of`, "ignores"},
}

// allowed are correct uses of the words above.
var allowed = words(
	"`nobody`", `nobody:x`, `nobody:nobody`, // the Unix user
	`so (many|much) that`, `so (many|much) [\w-]+ that`,
)

// anyPhrase matches what one of eachPhrase matches.
var anyPhrase, eachPhrase = compile(phrases)

func compile(phrases []phrase) (any *regexp.Regexp, each []*regexp.Regexp) {
	var patterns []string
	for _, p := range phrases {
		patterns = append(patterns, p.not)
		each = append(each, words(p.not))
	}
	return words(patterns...), each
}

// words compiles patterns that match whole words.
func words(patterns ...string) *regexp.Regexp {
	pattern := strings.ReplaceAll(strings.Join(patterns, "|"), " ", `\s+`)
	return regexp.MustCompile(`(?i)(?:^|[^\pL\pN_'’-])(` + pattern + `)(?:$|[^\pL\pN_-])`)
}

func TestPhrasesOfTheListAreNotUsed(t *testing.T) {
	t.Parallel()
	all := prose(t)
	if len(all) < 300 {
		t.Errorf("only %d files were read", len(all))
	}
	found, pending := make([][]string, len(phrases)), make([]int, len(notYet))
	total := 0
	for _, file := range slices.Sorted(maps.Keys(all)) {
		late := slices.IndexFunc(notYet, func(begin string) bool { return strings.HasPrefix(file, begin) })
		for _, p := range phrasesIn(all[file]) {
			total++
			line := fmt.Sprintf("%s:%d: %s", file, p.line, p.context)
			found[p.phrase] = append(found[p.phrase], line)
			if late >= 0 {
				pending[late]++
			} else {
				t.Errorf("%s\n\tdon't write %q; write instead: %s", line, phrases[p.phrase].not, phrases[p.phrase].instead)
			}
		}
	}
	for i, p := range phrases {
		if len(found[i]) > 0 {
			t.Logf("%d × %q; write instead: %s\n\t%s", len(found[i]), p.not, p.instead, strings.Join(found[i], "\n\t"))
		}
	}
	t.Logf("%d phrases in %d files", total, len(all))
	for i, begin := range notYet {
		if pending[i] == 0 {
			t.Errorf("no file whose path begins with %q has any of the phrases: take it out of notYet", begin)
		}
	}
}

type place struct {
	phrase  int // its index in phrases
	line    int
	context string
}

// phrasesIn finds the phrases in a text.
func phrasesIn(text string) (all []place) {
	exempt := allowed.FindAllStringSubmatchIndex(text, -1)
	for at := 0; ; {
		m := anyPhrase.FindStringSubmatchIndex(text[at:])
		if m == nil {
			return all
		}
		from, to := at+m[2], at+m[3]
		at = to // the character after a phrase may be the one before the next
		if slices.ContainsFunc(exempt, func(e []int) bool { return e[2] < to && from < e[3] }) {
			continue
		}
		which := slices.IndexFunc(eachPhrase, func(p *regexp.Regexp) bool { return p.MatchString(text[from:to]) })
		context := strings.ToValidUTF8(text[max(0, from-40):min(len(text), to+40)], "")
		all = append(all, place{which, strings.Count(text[:from], "\n") + 1, strings.Join(strings.Fields(context), " ")})
	}
}

// prose returns the text of every file that people read: of Go files only the comments and the strings. All else is blank, so that lines keep their numbers.
func prose(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := filepath.ToSlash(strings.TrimPrefix(path, root+"/"))
		if d.IsDir() {
			if slices.Contains([]string{".git", ".lavka", "bin", "secrets", "testdata"}, name) || d.Name() == "testdata" {
				return filepath.SkipDir
			}
			return nil
		}
		switch {
		case name == "tests/docs/phrases_test.go", name == "LICENSE", strings.HasSuffix(name, ".gen.go"):
			return nil
		case strings.HasSuffix(name, ".go"):
			text, err := proseOfGo(path)
			all[name] = text
			return err
		case slices.Contains([]string{".md", ".yaml", ".yml", ".sh", ".conf", ".Caddyfile"}, filepath.Ext(name)), !strings.Contains(d.Name(), "."), strings.HasPrefix(name, ".ci/"):
			text, err := os.ReadFile(path)
			all[name] = commentMark.ReplaceAllStringFunc(string(text), blank)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// commentMark is what begins each line of a comment. A phrase may continue behind it.
var commentMark = regexp.MustCompile(`\n[ \t]*(//|#|--|>)`)

// blank keeps the newlines and the length of a text.
func blank(text string) string { return "\n" + strings.Repeat(" ", len(text)-1) }

func proseOfGo(path string) (string, error) {
	source, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, path, source, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return "", err
	}
	text := bytes.Clone(source)
	for i, c := range text {
		if c != '\n' {
			text[i] = ' '
		}
	}
	keep := func(n ast.Node) {
		from, to := files.Position(n.Pos()).Offset, files.Position(n.End()).Offset
		copy(text[from:], commentMark.ReplaceAllStringFunc(string(source[from:to]), blank))
	}
	for _, group := range file.Comments {
		keep(group)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if literal, ok := n.(*ast.BasicLit); ok && literal.Kind == token.STRING {
			keep(literal)
		}
		return true
	})
	return string(text), nil
}

func TestPhrasesCanBeFound(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "a.go")
	source := "package nobody\n\n// The client asks\n// again and says so. Nobody\n// hears.\nfunc everybody() string { return \"he is\" + `away\nfor ever` }\n"
	if err := os.WriteFile(file, []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	text, err := proseOfGo(file)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range phrasesIn(text) {
		got = append(got, fmt.Sprintf("%d %s", p.line, phrases[p.phrase].instead))
	}
	var want []string
	for _, w := range []string{"3 ask again", "4 says so", "4 nobody", "5 hears", "6 he", "7 for ever"} {
		line, text, _ := strings.Cut(w, " ")
		i := slices.IndexFunc(eachPhrase, func(p *regexp.Regexp) bool { return p.MatchString(text) })
		want = append(want, line+" "+phrases[i].instead)
	}
	if !slices.Equal(got, want) {
		t.Errorf("found %q\nand not %q", got, want)
	}
	for _, fine := range []string{
		"runs as `nobody`", "nobody:x:65534:65534", "so many rows that the table is read", "the heritage of this", "then the lake", "hearing", "unheard-of", "he-llo",
		"the reach of a fault", "take it away", "ask against", "foreverlasting",
	} {
		if found := phrasesIn(fine); len(found) > 0 {
			t.Errorf("%q is fine, and yet %v", fine, found)
		}
	}
}
