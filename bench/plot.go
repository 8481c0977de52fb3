package main

// The results as a picture: a bar chart a case, readable on light and dark pages.

import (
	"fmt"
	"html"
	"strings"
)

const (
	plotWidth  = 880
	plotColumn = plotWidth / 2
	plotLabel  = 84 // of a peer's name
	plotFigure = 60 // of the figure after a bar
	plotBar    = 15
	plotHead   = 44
)

const plotStyle = `<style>
text { font: 12px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600 }
.minor { fill: #59636e }
.bar { fill: #8c959f }
.ours { fill: #0969da }
.floor { fill: none; stroke: #8c959f }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 }
.minor { fill: #9198a1 }
.bar { fill: #656c76 }
.ours { fill: #4493f8 }
.floor { stroke: #8b949e }
}
</style>
`

// plot returns the picture as SVG.
func (r *run) plot() string {
	height := plotHead + len(r.peers)*plotBar + 20
	rows := (len(r.cases) + 1) / 2
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-label="Cost of hail and its peers, by case">`+"\n",
		plotWidth, rows*height, plotWidth, rows*height)
	b.WriteString(plotStyle)
	for i, c := range r.cases {
		fmt.Fprintf(&b, "<g transform=\"translate(%d %d)\">\n", i%2*plotColumn, i/2*height)
		r.panel(&b, c)
		b.WriteString("</g>\n")
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// panel draws one case.
func (r *run) panel(b *strings.Builder, c bcase) {
	unit := "server CPU, microseconds a " + c.unit
	if c.unit == "" {
		unit = "resident memory, KB a connection"
	}
	fmt.Fprintf(b, "<text class=\"title\" x=\"4\" y=\"16\">%s</text>\n<text class=\"minor\" x=\"4\" y=\"32\">%s; less is better</text>\n", html.EscapeString(c.brief), unit)
	costs := make([]float64, len(r.peers))
	most := 0.0
	for i, p := range r.peers {
		costs[i] = median(r.results[key{c.name, p.name}], c.cost)
		most = max(most, costs[i])
	}
	y := plotHead
	for i, p := range r.peers {
		if costs[i] == 0 {
			continue
		}
		class := "bar"
		switch {
		case strings.HasPrefix(p.name, "hail"):
			class = "ours"
		case p.echoes:
			class = "floor"
		}
		width := max(1, costs[i]/most*(plotColumn-plotLabel-plotFigure-12))
		fmt.Fprintf(b, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%s</text><rect class=\"%s\" x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%d\" rx=\"2\"/><text x=\"%.1f\" y=\"%d\">%s</text>\n",
			plotLabel-6, y+11, p.name, class, plotLabel, y+1, width, plotBar-3, plotLabel+width+5, y+11, amount(costs[i]))
		y += plotBar
	}
}

// amount formats a cost in at least three digits.
func amount(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}
