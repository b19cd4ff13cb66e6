package auth

import (
	_ "embed"
	"strings"
	"unicode"

	"github.com/ccojocar/zxcvbn-go/entropy"
	"github.com/ccojocar/zxcvbn-go/match"
)

// minWord is the least length of a common word, in bytes: in random text, shorter ones
// are chance.
const minWord = 3

//go:embed words.txt
var wordsText string

// words maps the common words of words.txt, as they are typed (see [keystrokes]), to
// their rank within their language. Cyrillic words are there in Latin letters too.
var words, longestWord = readWords(wordsText)

func readWords(text string) (ranks map[string]int, longest int) {
	ranks = map[string]int{}
	for line := range strings.Lines(text) {
		_, list, ok := strings.Cut(line, ":")
		if !ok || strings.HasPrefix(line, "#") {
			continue
		}
		for i, word := range strings.Fields(list) {
			for _, form := range []string{word, latin.Replace(word)} {
				typed := strings.ToLower(string(keystrokes(form)))
				if len(typed) < minWord {
					continue
				}
				if rank, known := ranks[typed]; !known || i+1 < rank {
					ranks[typed] = i + 1
				}
				longest = max(longest, len([]rune(typed)))
			}
		}
	}
	return ranks, longest
}

// commonWords returns the parts of a text that are common words of any language.
// zxcvbn has lists of English ones only.
func commonWords(typed []rune) (found []match.Match) {
	lower := []rune(strings.Map(unicode.ToLower, string(typed)))
	for i := range lower {
		for j := i; j < len(lower) && j < i+longestWord; j++ {
			rank, ok := words[string(lower[i:j+1])]
			if !ok {
				continue
			}
			m := match.Match{Pattern: "dictionary", DictionaryName: "words", I: i, J: j, Token: onlyASCII(typed[i : j+1])}
			m.Entropy = entropy.DictionaryEntropy(m, float64(rank))
			found = append(found, m)
		}
	}
	return found
}
