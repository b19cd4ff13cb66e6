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
var notYet []string

// phrase is wording that this repository does not use.
type phrase struct {
	not     string // words in any case, with | between those that may stand in one place
	instead string
}

var phrases = []phrase{
	{"ask|asks|asked|asking again", "retry, repeat the request"},
	{"somebody|whoever|everybody|anybody", "name the subject: the caller, the client, another process"},
	{"nobody", "name the subject, or use the passive: no client, no process"},
	{"he|him|his|himself", "they, them, their, or name the subject"},
	{"be|is|was|are|were|not had", "acquired, available"},
	{"had again", "reproduced"},
	{"say|says|said|saying so", "reports it, logs it, returns an error"},
	{"so many|much", "this many, N, as much; or give the number"},
	{"for ever", "forever, without a limit"},
	{"hear|hears|heard", "receives, is notified"},
	{"tells|told of", "describes, reports, is notified of"},
	{"of|in|within reach", "unreachable, reachable"},
	{"is|are|was|were|be|been away", "unreachable, down, gone"},
	{"anew", "again, from scratch"},
	{"as ever", "as usual"},
	{"reckon|reckons|reckoned", "counts, computes, assumes"},
	{"come|comes|came of it", "the outcome, the result"},
	{"what came out|of", "the outcome, the result"},
	{"one|more|connection too many", "beyond the limit"},
	{"not any more", "no longer"},
	{"make|makes nothing of", "ignores"},
}

// allowed are correct uses of the words above.
var allowed = regexp.MustCompile("(?i)[`\"=:]nobody('s)?[`\":&]|nobody:x|user nobody" + // the Unix user, or a name in a test
	`|so\s+(many|much)(\s+[\w-]+)?\s+that`)

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
	words := wordsIn(text)
	for i := range words {
		for _, p := range begins[words[i].text] {
			if len(words)-i < len(p.rest)+1 {
				continue
			}
			found := true
			for j, alternatives := range p.rest {
				next := words[i+1+j]
				found = found && alternatives[next.text] && strings.TrimSpace(text[words[i+j].to:next.from]) == ""
			}
			from, to := words[i].from, words[i+len(p.rest)].to
			if !found || isAllowed(text, from, to) {
				continue
			}
			context := strings.ToValidUTF8(text[max(0, from-40):min(len(text), to+40)], "")
			all = append(all, place{p.index, strings.Count(text[:from], "\n") + 1, strings.Join(strings.Fields(context), " ")})
		}
	}
	return all
}

// isAllowed reports whether the phrase at that place is a correct use.
func isAllowed(text string, from, to int) bool {
	begin, end := max(0, from-20), min(len(text), to+40)
	return slices.ContainsFunc(allowed.FindAllStringIndex(text[begin:end], -1), func(m []int) bool { return begin+m[0] < to && from < begin+m[1] })
}

// sequence is a phrase without its first word.
type sequence struct {
	index int
	rest  []map[string]bool
}

// begins has the phrases by their first words. A regular expression would take a minute for all files, with the race detector.
var begins = func() map[string][]sequence {
	all := map[string][]sequence{}
	for i, p := range phrases {
		places := strings.Fields(p.not)
		s := sequence{index: i}
		for _, alternatives := range places[1:] {
			set := map[string]bool{}
			for w := range strings.SplitSeq(alternatives, "|") {
				set[w] = true
			}
			s.rest = append(s.rest, set)
		}
		for w := range strings.SplitSeq(places[0], "|") {
			all[w] = append(all[w], s)
		}
	}
	return all
}()

type word struct {
	text     string // in lower case
	from, to int
}

func wordsIn(text string) (all []word) {
	for i := 0; i < len(text); {
		from := i
		for i < len(text) && isLetter(text[i]) {
			i++
		}
		if i == from {
			i++
			continue
		}
		all = append(all, word{strings.ToLower(text[from:i]), from, i})
	}
	return all
}

// isLetter reports whether a byte is part of a word: "-" is, so that the names of files are single words, and everything beyond ASCII.
func isLetter(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-' || c >= 0x80
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
		want = append(want, line+" "+phrases[phrasesIn(text)[0].phrase].instead)
	}
	if !slices.Equal(got, want) {
		t.Errorf("found %q\nand not %q", got, want)
	}
	for _, fine := range []string{
		"runs as `nobody`", "nobody:x:65534:65534", "so many rows that the table is read", "the heritage of this", "then the lake", "hearing", "unheard-of", "it says. So it is", "he_is", "0018-plans-are-made-anew.md", "login=nobody\"", "no user nobody exists",
		"the reach of a fault", "take it away", "ask against", "foreverlasting",
	} {
		if found := phrasesIn(fine); len(found) > 0 {
			t.Errorf("%q is fine, and yet %v", fine, found)
		}
	}
}
