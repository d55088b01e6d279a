package strictyaml

import "strings"

// Suggest gives the candidate that word was probably meant to be, or "". It
// tolerates case, dashes and underscores, and one typing error for each three
// letters (at least one, at most three).
func Suggest(word string, candidates []string) string {
	flat := flatten(word)
	limit := min(max(len(flat)/3, 1), 3)
	best := ""
	for _, c := range candidates {
		d := distance(flat, flatten(c))
		if d <= limit && d < len(c) {
			limit, best = d-1, c
		}
		if d == 0 {
			return c
		}
	}
	return best
}

func flatten(s string) string {
	return strings.ToLower(strings.NewReplacer("-", "", "_", "", " ", "").Replace(s))
}

// distance is the optimal string alignment distance: insertions, deletions,
// replacements and swaps of neighbours. Words longer than any field are not
// compared.
func distance(a, b string) int {
	const longest = 64
	if len(a) > longest || len(b) > longest {
		return longest
	}
	before, last := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
