package auth

import (
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// The keys of a keyboard with Latin letters.
const (
	keys    = "qwertyuiop[]asdfghjkl;'zxcvbnm,./`"
	shifted = "QWERTYUIOP{}ASDFGHJKL:\"ZXCVBNM<>?~"
)

// layouts are what the same keys type in other scripts. A character that a layout has
// in a place where an earlier one has it too may be left out ("·").
var layouts = []string{
	"йцукенгшщзхъфывапролджэячсмитьбю·ё", // Russian
	"········ў··ї·і········є···········", // Ukrainian and Belarusian
	";ςερτυθιοπ··ασδφγηξκλ··ζχψωβνμ····", // Greek
	"/·קראטוןםפ··שדגכעיחלךף·זסבהנמצתץ··", // Hebrew
	"ضصثقفغعهخحجدشسيبلاتنمكطئءؤر·ىةوزظذ", // Arabic
}

// jamo are the parts of Korean syllables, in Unicode's order, each with the keys that
// type it (2-set layout).
var jamo = []struct {
	first rune
	keys  string
}{
	{'\u1100', "r R s e E f a q Q t T d w W c z x v g"},
	{'\u1161', "k o i O j p u P h hk ho hl y n nj np nl b m ml l"},
	{'\u11a8', "r R rt s sw sg e f fr fa fq ft fx fv fg a q qt t T d w c z x v g"},
}

// onKeyboard maps a character to the Latin keys that type it.
var onKeyboard = keyboard()

func keyboard() map[rune]string {
	m := map[rune]string{'ß': "ss", 'ł': "l", 'ø': "o", 'đ': "d", 'ð': "d", 'ı': "i", 'æ': "ae", 'œ': "oe", 'þ': "th", 'ґ': "u"}
	for _, layout := range layouts {
		for i, r := range []rune(layout) {
			if r < unicode.MaxASCII || r == '·' || m[r] != "" {
				continue
			}
			m[r] = keys[i : i+1]
			if upper := unicode.ToUpper(r); upper != r {
				m[upper] = shifted[i : i+1]
			}
		}
	}
	for _, part := range jamo {
		for i, typed := range strings.Fields(part.keys) {
			m[part.first+rune(i)] = typed
		}
	}
	return m
}

// keystrokes returns a text as it would be typed on a keyboard with Latin letters. So
// пароль, and gfhjkm from someone who forgot to switch the layout, are the same. Latin
// letters lose their accents. Other characters stay as they are.
func keystrokes(text string) []rune {
	var typed []rune
	for _, r := range norm.NFKC.String(text) {
		if key, ok := typedAs(r); ok {
			typed = append(typed, []rune(key)...)
			continue
		}
		for _, part := range norm.NFD.String(string(r)) {
			if key, ok := typedAs(part); ok {
				typed = append(typed, []rune(key)...)
			} else if !unicode.Is(unicode.Mn, part) {
				typed = append(typed, part)
			}
		}
	}
	return typed
}

func typedAs(r rune) (string, bool) {
	if r <= unicode.MaxASCII {
		return string(r), true
	}
	key, ok := onKeyboard[r]
	return key, ok
}

// symbols stand for the characters that no key types, so that each counts as one
// symbol: zxcvbn counts the bytes of a character.
const symbols = "!#%&*-=?@^_|~"

func onlyASCII(typed []rune) string {
	text := make([]byte, len(typed))
	for i, r := range typed {
		if text[i] = byte(r); r > unicode.MaxASCII {
			text[i] = symbols[int(r)%len(symbols)]
		}
	}
	return string(text)
}

// latin are Cyrillic letters as people write them in Latin ones.
var latin = strings.NewReplacer(
	"а", "a", "б", "b", "в", "v", "г", "g", "д", "d", "е", "e", "ё", "e", "ж", "zh", "з", "z", "и", "i", "й", "y", "к", "k", "л", "l", "м", "m", "н", "n", "о", "o",
	"п", "p", "р", "r", "с", "s", "т", "t", "у", "u", "ф", "f", "х", "h", "ц", "ts", "ч", "ch", "ш", "sh", "щ", "sch", "ъ", "", "ы", "y", "ь", "", "э", "e",
	"ю", "yu", "я", "ya", "і", "i", "ї", "yi", "є", "ye", "ґ", "g", "ў", "u")
