package cli

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"math"
	"time"

	"lofn/internal/simulate"
)

// The measures of a plot, in pixels.
const (
	plotWidth, panelHeight = 960.0, 200.0
	plotLeft, plotRight    = 70.0, 20.0
	panelTop, panelBottom  = 30.0, 20.0
	legendHeight           = 30.0
)

// plotColours are told apart by people who see colours otherwise, too (Okabe and
// Ito, Color Universal Design).
var plotColours = []string{"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"}

// drawOutcomes is an SVG document with a panel for each curve, all over the same
// time.
func drawOutcomes(outcomes []outcome) []byte {
	end := time.Duration(1)
	for _, o := range outcomes {
		end = max(end, o.Length)
	}
	height := legendHeight + float64(len(curves))*panelHeight
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %g %g" font-family="sans-serif" font-size="12">`+"\n", plotWidth, height)
	fmt.Fprintf(&b, `<rect width="%g" height="%g" fill="white"/>`+"\n", plotWidth, height)
	drawLegend(&b, outcomes)
	for i, curve := range curves {
		drawn := outcomes
		if curve.same {
			drawn = outcomes[:1]
		}
		p := panel{&b, legendHeight + float64(i)*panelHeight, end, ceiling(highest(drawn, curve.of))}
		p.axes(curve.name)
		for j, o := range drawn {
			p.line(o.Series, curve.of, plotColours[j%len(plotColours)])
		}
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

func drawLegend(b *bytes.Buffer, outcomes []outcome) {
	x := plotLeft
	for i, o := range outcomes {
		fmt.Fprintf(b, `<rect x="%g" y="10" width="12" height="12" fill="%s"/>`, x, plotColours[i%len(plotColours)])
		text(b, x+18, 20, "start", o.Policy)
		x += 40 + 7*float64(len(o.Policy))
	}
}

// text writes a word of the user's or ours.
func text(b *bytes.Buffer, x, y float64, anchor, words string) {
	fmt.Fprintf(b, `<text x="%g" y="%g" text-anchor="%s">`, x, y, anchor)
	_ = xml.EscapeText(b, []byte(words))
	b.WriteString("</text>\n")
}

// panel is one coordinate system.
type panel struct {
	b   *bytes.Buffer
	top float64
	end time.Duration
	// most is the value at the upper edge.
	most float64
}

func (p panel) x(at time.Duration) float64 {
	return plotLeft + (plotWidth-plotLeft-plotRight)*float64(at)/float64(p.end)
}

func (p panel) y(value float64) float64 {
	return p.top + panelTop + (panelHeight-panelTop-panelBottom)*(1-value/p.most)
}

func (p panel) axes(name string) {
	text(p.b, plotLeft, p.top+20, "start", name)
	for i := range 5 {
		value := p.most * float64(i) / 4
		p.rule(plotLeft, p.y(value), plotWidth-plotRight, p.y(value))
		text(p.b, plotLeft-6, p.y(value)+4, "end", decimal(value))
	}
	for at := time.Duration(0); at <= p.end; at += tick(p.end) {
		p.rule(p.x(at), p.y(0), p.x(at), p.y(p.most))
		text(p.b, p.x(at), p.y(0)+15, "middle", clock(at))
	}
}

func (p panel) rule(x1, y1, x2, y2 float64) {
	fmt.Fprintf(p.b, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="#ddd"/>`+"\n", x1, y1, x2, y2)
}

func (p panel) line(points []simulate.Point, of func(simulate.Point) float64, colour string) {
	fmt.Fprintf(p.b, `<polyline fill="none" stroke="%s" stroke-width="1.2" points="`, colour)
	for _, point := range points {
		fmt.Fprintf(p.b, "%.1f,%.1f ", p.x(min(point.At, p.end)), p.y(of(point)))
	}
	p.b.WriteString("\"/>\n")
}

// ceiling is the next round number above a value.
func ceiling(value float64) float64 {
	if value <= 0 {
		return 1
	}
	magnitude := math.Pow(10, math.Floor(math.Log10(value)))
	for _, round := range []float64{1, 2, 4, 5, 8, 10} {
		if value <= round*magnitude {
			return round * magnitude
		}
	}
	return 10 * magnitude
}

// tick is the time between two marks, so that there are some ten.
func tick(length time.Duration) time.Duration {
	for _, step := range []time.Duration{
		time.Second, 5 * time.Second, 15 * time.Second, time.Minute, 5 * time.Minute, 15 * time.Minute,
		time.Hour, 2 * time.Hour, 6 * time.Hour, 24 * time.Hour, 7 * 24 * time.Hour,
	} {
		if length <= 12*step {
			return step
		}
	}
	return length / 10
}

// clock is a time since the start without parts that are zero.
func clock(at time.Duration) string {
	switch {
	case at%(24*time.Hour) == 0 && at > 0:
		return fmt.Sprintf("%dd", at/(24*time.Hour))
	case at%time.Hour == 0:
		return fmt.Sprintf("%dh", at/time.Hour)
	case at%time.Minute == 0:
		return fmt.Sprintf("%dm", at/time.Minute)
	}
	return at.Round(time.Second).String()
}
