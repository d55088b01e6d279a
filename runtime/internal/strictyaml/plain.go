package strictyaml

import (
	"unicode/utf8"

	"github.com/goccy/go-yaml/token"
)

// joinPlain puts plain scalars in lists together again: the lexer cuts the
// 10.1.0.5:3306 of {allow: [10.1.0.5:3306]} at its colon, where YAML has one
// scalar, as no space follows.
func joinPlain(tokens token.Tokens) token.Tokens {
	var out token.Tokens
	var open []token.Type
	for i := 0; i < len(tokens); i++ {
		tk := tokens[i]
		switch tk.Type {
		case token.SequenceStartType, token.MappingStartType:
			open = append(open, tk.Type)
		case token.SequenceEndType, token.MappingEndType:
			open = open[:max(len(open)-1, 0)]
		default:
		}
		if n := runLength(tokens[i:]); n > 1 && len(open) > 0 && open[len(open)-1] == token.SequenceStartType {
			tk = joined(tokens[i : i+n])
			i += n - 1
		}
		out.Add(tk)
	}
	return out
}

// runLength is how many tokens a plain scalar was cut into: they follow each other
// without a space, and the last is no colon. (The first may be, as in ::1.)
func runLength(tokens token.Tokens) int {
	if !plain(tokens[0]) && tokens[0].Type != token.MappingValueType {
		return 1
	}
	n := 1
	for i := 1; i < len(tokens); i++ {
		before, tk := tokens[i-1], tokens[i]
		touches := tk.Position.Line == before.Position.Line && tk.Position.Column == before.Position.Column+utf8.RuneCountInString(before.Value)
		if !touches || (!plain(tk) && tk.Type != token.MappingValueType) {
			break
		}
		if plain(tk) {
			n = i + 1
		}
	}
	return n
}

func plain(tk *token.Token) bool {
	return tk.CharacterType == token.CharacterTypeMiscellaneous && tk.Type != token.CommentType
}

func joined(run token.Tokens) *token.Token {
	var value, origin string
	for _, tk := range run {
		value += tk.Value
		origin += tk.Origin
	}
	return token.New(value, origin, run[0].Position)
}
