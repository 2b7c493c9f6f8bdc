package function

import (
	"fmt"
	"math"
)

// Summary is the answer. Fractions are between 0 and 1.
type Summary struct {
	Reads  uint64 `json:"reads"`
	Bases  uint64 `json:"bases"`
	Length Length `json:"length"`
	// GCContent is (G+C)/(A+C+G+T+U): bases that are not known do not count.
	GCContent float64 `json:"gc_content"`
	// N counts N and '.', which mean any base; Ambiguous counts the other
	// IUPAC codes and gaps.
	N         uint64  `json:"n"`
	Ambiguous uint64  `json:"ambiguous"`
	Quality   Quality `json:"quality"`
	// Warnings are doubts about a file that could be read.
	Warnings []string `json:"warnings,omitempty"`
}

// Length is in bases, over all reads.
type Length struct {
	Min  uint64  `json:"min"`
	Mean float64 `json:"mean"`
	Max  uint64  `json:"max"`
}

// Quality is over all bases, each Phred score being its character less 33.
type Quality struct {
	// MeanArithmetic is the mean of the scores, as most tools report it.
	MeanArithmetic float64 `json:"mean_arithmetic"`
	// MeanByErrorProbability is the score of the mean probability of an error,
	// -10·log10(mean(10^(-q/10))): lower, and what the data is worth.
	MeanByErrorProbability float64 `json:"mean_by_error_probability"`
	// Q20 and Q30 are the fractions of bases with at least that score.
	Q20 float64 `json:"q20"`
	Q30 float64 `json:"q30"`
}

const (
	phredOffset = '!'
	maxQuality  = '~' - phredOffset
)

// Stats gathers counts while reads go by. All means follow from the counts, so
// that nothing is lost to rounding however long the file is.
type Stats struct {
	reads, bases uint64
	min, max     uint64
	classes      [classes]uint64
	qualities    [maxQuality + 1]uint64
}

func (s *Stats) addRead(length uint64) {
	if s.reads == 0 || length < s.min {
		s.min = length
	}
	s.max = max(s.max, length)
	s.reads++
	s.bases += length
}

// Summary computes the answer from the counts so far.
func (s *Stats) Summary() Summary {
	return Summary{
		Reads:     s.reads,
		Bases:     s.bases,
		Length:    Length{Min: s.min, Mean: ratio(s.bases, s.reads), Max: s.max},
		GCContent: ratio(s.classes[strong], s.classes[strong]+s.classes[weak]),
		N:         s.classes[unknown],
		Ambiguous: s.classes[ambiguous],
		Quality:   s.quality(),
		Warnings:  s.warnings(),
	}
}

func (s *Stats) quality() Quality {
	var score, q20, q30 uint64
	var errorProbability float64
	for q, count := range s.qualities {
		score += uint64(q) * count
		errorProbability += float64(count) * math.Pow(10, -float64(q)/10)
		if q >= 20 {
			q20 += count
		}
		if q >= 30 {
			q30 += count
		}
	}
	if s.bases == 0 {
		return Quality{}
	}
	return Quality{
		MeanArithmetic:         ratio(score, s.bases),
		MeanByErrorProbability: round(-10 * math.Log10(errorProbability/float64(s.bases))),
		Q20:                    ratio(q20, s.bases),
		Q30:                    ratio(q30, s.bases),
	}
}

// warnings suspects the Phred+64 encoding of Illumina pipelines before 2011,
// whose characters run from ';' to 'h': nothing below and something above the
// range that Phred+33 files of the same machines use.
func (s *Stats) warnings() []string {
	lowest, highest := -1, -1
	for q, count := range s.qualities {
		if count == 0 {
			continue
		}
		if lowest < 0 {
			lowest = q
		}
		highest = q
	}
	if lowest < ';'-phredOffset || highest <= 'K'-phredOffset || highest > 'h'-phredOffset {
		return nil
	}
	return []string{fmt.Sprintf("quality characters run from '%c' to '%c': this may be a Phred+64 file, then all qualities here are 31 too high",
		lowest+phredOffset, highest+phredOffset)}
}

func ratio(part, whole uint64) float64 {
	if whole == 0 {
		return 0
	}
	return round(float64(part) / float64(whole))
}

// round keeps six decimals, more than the data supports.
func round(x float64) float64 { return math.Round(x*1e6) / 1e6 }
