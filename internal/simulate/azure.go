package simulate

import (
	"math"
	"math/rand/v2"
)

// quantile says that a part of all functions is below a value.
type quantile struct{ part, value float64 }

// What Shahrad et al., "Serverless in the Wild: Characterizing and Optimizing the
// Serverless Workload at a Large Cloud Provider" (USENIX ATC 2020), say about
// Azure Functions in July 2019. Between these points values are spread evenly on
// a logarithmic scale.
var (
	// azureRates are calls per second. 45 % of the applications are called once an
	// hour or less, 81 % once a minute or less, some 3 % more than once a second,
	// and eight orders of magnitude lie between the extremes; here the lower one is
	// a call in the paper's two weeks. The busiest fifth has more than 99 % of
	// the calls, as in the paper.
	azureRates = []quantile{{0, 1. / (14 * 86400)}, {0.45, 1. / 3600}, {0.81, 1. / 60}, {0.97, 1}, {1, 1e8 / (14 * 86400)}}
	// azureDurations are average times of functions in seconds: 20 % take less
	// than 100 ms, half less than a second, 96 % less than a minute. The extremes
	// are a guess.
	azureDurations = []quantile{{0, 0.001}, {0.20, 0.1}, {0.50, 1}, {0.96, 60}, {1, 600}}
)

// azureSpread is by how much the slowest calls of a function exceed its usual
// ones. In the paper half of the functions take less than 1 s on average and
// less than 3 s at most.
const azureSpread = 3

// azure draws rate and duration of each function, independently of each other.
// They are taken from the distribution at equal distances, so that few functions
// have its shape too.
func (g *generated) azure(random *rand.Rand) (rates []float64) {
	popular, slow := random.Perm(g.Count), random.Perm(g.Count)
	for i := range g.Count {
		rates = append(rates, at(azureRates, (float64(popular[i])+0.5)/float64(g.Count)))
		if g.Duration == (Spread{}) {
			usual := at(azureDurations, (float64(slow[i])+0.5)/float64(g.Count))
			g.durations[i] = LogNormal(seconds(usual), seconds(azureSpread*usual))
		}
	}
	return rates
}

// at is the value below which a part of all is.
func at(table []quantile, part float64) float64 {
	i := 1
	for i < len(table)-1 && part > table[i].part {
		i++
	}
	a, b := table[i-1], table[i]
	along := (part - a.part) / (b.part - a.part)
	return math.Exp(math.Log(a.value) + along*(math.Log(b.value)-math.Log(a.value)))
}
