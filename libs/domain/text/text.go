// Package text has the rules for texts that one person writes and others read, such as
// a title.
package text

import (
	"slices"
	"unicode"
)

// Line reports whether a text has no control character, no line break and no
// character that reorders what is around it: such a text can't pass for another one in
// a list, a log or a terminal (Unicode Technical Report 36). Marks of direction, and
// joiners as in Persian and in emoji, are allowed.
func Line(s string) bool { return !slices.ContainsFunc([]rune(s), disturbs) }

// Block reports the same for a text of several lines, which may have line breaks and
// tabs.
func Block(s string) bool {
	return !slices.ContainsFunc([]rune(s), func(r rune) bool { return r != '\n' && r != '\r' && r != '\t' && disturbs(r) })
}

// Visible reports whether a text has a character that can be seen.
func Visible(s string) bool {
	return slices.ContainsFunc([]rune(s), func(r rune) bool {
		return unicode.IsGraphic(r) && !unicode.IsSpace(r) && !unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector) && r != brailleBlank
	})
}

const brailleBlank = '\u2800' // a symbol without a dot

func disturbs(r rune) bool {
	if unicode.Is(unicode.Bidi_Control, r) {
		return r != '\u061c' && r != '\u200e' && r != '\u200f' // the marks
	}
	return unicode.In(r, unicode.Cc, unicode.Zl, unicode.Zp)
}
