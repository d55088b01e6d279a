package main

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// chart is lines over a logarithmic x.
type chart struct {
	title, x, y string
	lines       []line
}

type line struct {
	name string
	x, y []float64
}

func (c *chart) bounds() (x0, x1, y1 float64) {
	x0, x1 = math.Inf(1), math.Inf(-1)
	for _, l := range c.lines {
		for i := range l.x {
			if l.x[i] > 0 {
				x0, x1, y1 = min(x0, l.x[i]), max(x1, l.x[i]), max(y1, l.y[i])
			}
		}
	}
	return x0, x1, y1
}

var colours = []string{"#1b6ca8", "#d1495b", "#66a182", "#edae49", "#7b5ea7", "#444444", "#9c6644"}

// svg draws it.
func (c *chart) svg() string {
	const w, h, left, top, plot, high = 760, 400, 60, 40, 480, 300
	x0, x1, y1 := c.bounds()
	y1 *= 1.05
	px := func(v float64) float64 { return left + plot*math.Log(v/x0)/math.Log(x1/x0) }
	py := func(v float64) float64 { return top + high*(1-v/y1) }
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", w, h)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="white"/><text x="%d" y="20" font-size="14">%s</text>`+"\n", w, h, left, html.EscapeString(c.title))
	for decade := math.Pow(10, math.Floor(math.Log10(x0))); decade <= x1; decade *= 10 {
		for _, m := range []float64{1, 2, 5} {
			if v := m * decade; v >= x0*0.999 && v <= x1*1.001 {
				fmt.Fprintf(&b, `<path d="M%.1f %d v%d" stroke="#ddd"/><text x="%.1f" y="%d" text-anchor="middle">%.3g</text>`+"\n", px(v), top, high, px(v), top+high+16, v)
			}
		}
	}
	for i := range 6 {
		v := y1 * float64(i) / 5
		fmt.Fprintf(&b, `<path d="M%d %.1f h%d" stroke="#ddd"/><text x="%d" y="%.1f" text-anchor="end">%.0f</text>`+"\n", left, py(v), plot, left-6, py(v)+4, v)
	}
	fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="middle">%s</text><text transform="translate(16 %d) rotate(-90)" text-anchor="middle">%s</text>`+"\n",
		left+plot/2, top+high+38, html.EscapeString(c.x), top+high/2, html.EscapeString(c.y))
	for i, l := range c.lines {
		colour := colours[i%len(colours)]
		var at []string
		for k := range l.x {
			if l.x[k] > 0 {
				at = append(at, fmt.Sprintf("%.1f,%.1f", px(l.x[k]), py(l.y[k])))
			}
		}
		fmt.Fprintf(&b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", strings.Join(at, " "), colour)
		fmt.Fprintf(&b, `<rect x="%d" y="%d" width="14" height="4" fill="%s"/><text x="%d" y="%d">%s</text>`+"\n",
			left+plot+16, top+10+20*i, colour, left+plot+36, top+16+20*i, html.EscapeString(l.name))
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// text draws it for a terminal: a letter for each line.
func (c *chart) text(columns, rows int) string {
	x0, x1, y1 := c.bounds()
	grid := make([][]byte, rows)
	for i := range grid {
		grid[i] = []byte(strings.Repeat(" ", columns))
	}
	put := func(x, y float64, mark byte) {
		if x <= 0 {
			return
		}
		col := int(math.Round(float64(columns-1) * math.Log(x/x0) / math.Log(x1/x0)))
		row := int(math.Round(float64(rows-1) * (1 - y/y1)))
		grid[min(max(0, row), rows-1)][min(max(0, col), columns-1)] = mark
	}
	for i, l := range c.lines {
		for k := range l.x {
			if k > 0 && l.x[k-1] > 0 && l.x[k] > 0 {
				for s := range 20 {
					f := float64(s) / 20
					put(math.Exp((1-f)*math.Log(l.x[k-1])+f*math.Log(l.x[k])), (1-f)*l.y[k-1]+f*l.y[k], byte('a'+i))
				}
			}
			put(l.x[k], l.y[k], byte('a'+i))
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", c.title)
	for i, row := range grid {
		label := "      "
		if i%4 == 0 {
			label = fmt.Sprintf("%5.0f ", y1*(1-float64(i)/float64(rows-1)))
		}
		fmt.Fprintf(&b, "%s|%s\n", label, strings.TrimRight(string(row), " "))
	}
	fmt.Fprintf(&b, "      +%s\n       %-10.3g%*.3g\n       %s; y: %s\n", strings.Repeat("-", columns), x0, columns-10, x1, c.x, c.y)
	for i, l := range c.lines {
		fmt.Fprintf(&b, "       %c  %s\n", 'a'+i, l.name)
	}
	return b.String()
}
