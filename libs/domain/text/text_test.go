package text

import "testing"

func TestTexts(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]struct{ line, block, visible bool }{
		"Samovar": {true, true, true}, "Чайник №5": {true, true, true}, "می\u200cخواهم": {true, true, true}, "\U0001F468\u200d\U0001F469": {true, true, true},
		"שלום\u200f!": {true, true, true}, "e\u0301": {true, true, true}, "": {true, true, false}, " \u00a0\u3000": {true, true, false},
		"\u200b\u200d\u00ad\ufeff": {true, true, false}, "\u3164\u115f": {true, true, false}, "\u2800": {true, true, false}, "\ufe0f": {true, true, false},
		"two\nlines": {false, true, true}, "a\r\n\tb": {false, true, true}, "red\x1b[31m": {false, false, true}, "bell\a": {false, false, true},
		"c1\u0085": {false, false, true}, "line\u2028": {false, false, true}, "par\u2029": {false, false, true},
		"invoice\u202egpj.exe": {false, false, true}, "\u2066isolate\u2069": {false, false, true}, "\u202bembed\u202c": {false, false, true},
	} {
		if line, block, visible := Line(s), Block(s), Visible(s); line != want.line || block != want.block || visible != want.visible {
			t.Errorf("%q: line %v, block %v, visible %v; want %+v", s, line, block, visible, want)
		}
	}
}
