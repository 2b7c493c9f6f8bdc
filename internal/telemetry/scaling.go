package telemetry

import (
	"github.com/prometheus/client_golang/prometheus"

	"lofn"
)

// Scalings is a source of how functions want to be scaled: it yields what each
// says about it.
type Scalings func(yield func(fn lofn.Ref, s lofn.Scaling))

// CountScalings adds gauges of the settings, read at each scrape. Those of the
// target are there for functions only that are scaled by their load: rules
// tell by them which those are.
func (m *Metrics) CountScalings(scalings Scalings) {
	label := []string{"function_name"}
	m.registry.MustRegister(&scalingGauges{
		scalings: scalings,
		least:    prometheus.NewDesc("gateway_service_min", "Least replicas of a function that is not at zero.", label, nil),
		target:   prometheus.NewDesc("gateway_service_target", "Load that one replica of a function is meant to have.", label, nil),
		load: prometheus.NewDesc("gateway_service_target_load", "Load that one replica of a function is meant to have, by the type of the load.",
			[]string{"function_name", "scaling_type"}, nil),
	})
}

type scalingGauges struct {
	scalings            Scalings
	least, target, load *prometheus.Desc
}

func (g *scalingGauges) Describe(descs chan<- *prometheus.Desc) {
	descs <- g.least
	descs <- g.target
	descs <- g.load
}

func (g *scalingGauges) Collect(metrics chan<- prometheus.Metric) {
	g.scalings(func(fn lofn.Ref, s lofn.Scaling) {
		host := fn.Host()
		metrics <- prometheus.MustNewConstMetric(g.least, prometheus.GaugeValue, float64(s.Min), host)
		if s.Type == "" {
			return
		}
		metrics <- prometheus.MustNewConstMetric(g.target, prometheus.GaugeValue, s.Target, host)
		metrics <- prometheus.MustNewConstMetric(g.load, prometheus.GaugeValue, s.Target, host, string(s.Type))
	})
}
