package lofn

import (
	"math"
	"math/big"
	"strings"
)

// Resources are limits or requests of one replica, as the deployer wrote them
// in Kubernetes' quantity notation: memory "128Mi" or "1G", CPU "500m" or
// "0.5". Empty means unlimited.
type Resources struct {
	Memory string `json:"memory,omitempty"`
	CPU    string `json:"cpu,omitempty"`
}

func (r *Resources) clone() *Resources {
	if r == nil {
		return nil
	}
	c := *r
	return &c
}

// minMemory bounds amounts of memory below. Linux starts no program in much
// less, and where it fails to, it may end the one that starts it.
const minMemory = 4 << 20

// MemoryBytes returns the memory in bytes, 0 if none was set.
func (r *Resources) MemoryBytes() (int64, error) {
	if r == nil || r.Memory == "" {
		return 0, nil
	}
	n, err := parseQuantity(r.Memory, 1)
	if err != nil || n == 0 {
		return 0, Errorf(Invalid, "memory: %q is not an amount of memory: use bytes with a unit, such as 128Mi or 1Gi", r.Memory)
	}
	if n < minMemory {
		return 0, Errorf(Invalid, "memory: %q is less than any program needs: use at least 4Mi", r.Memory)
	}
	return n, nil
}

// MilliCPU returns the CPU in thousandths of a core, 0 if none was set.
func (r *Resources) MilliCPU() (int64, error) {
	if r == nil || r.CPU == "" {
		return 0, nil
	}
	n, err := parseQuantity(r.CPU, 1000)
	if err != nil || n == 0 {
		return 0, Errorf(Invalid, "cpu: %q is not an amount of CPU: use cores or thousandths, such as 0.5 or 500m", r.CPU)
	}
	return n, nil
}

func (r *Resources) validate(field string) error {
	if _, err := r.MemoryBytes(); err != nil {
		return Errorf(Invalid, "%s.%w", field, err)
	}
	if _, err := r.MilliCPU(); err != nil {
		return Errorf(Invalid, "%s.%w", field, err)
	}
	return nil
}

// units are the suffixes of the Kubernetes quantity notation
// (k8s.io/apimachinery, pkg/api/resource), longest first.
var units = []struct {
	suffix string
	factor float64
}{
	{"Ki", 1 << 10}, {"Mi", 1 << 20}, {"Gi", 1 << 30}, {"Ti", 1 << 40}, {"Pi", 1 << 50},
	{"m", 1e-3}, {"k", 1e3}, {"M", 1e6}, {"G", 1e9}, {"T", 1e12}, {"P", 1e15},
}

// parseQuantity returns the quantity in units of 1/scale, rounded up as
// Kubernetes does.
func parseQuantity(text string, scale int64) (int64, error) {
	number, factor := text, 1.0
	for _, u := range units {
		if n, ok := strings.CutSuffix(text, u.suffix); ok {
			number, factor = n, u.factor
			break
		}
	}
	if number == "" || strings.Trim(number, "0123456789.") != "" {
		return 0, Errorf(Invalid, "%q is not a quantity", text)
	}
	value, ok := new(big.Rat).SetString(number)
	if !ok {
		return 0, Errorf(Invalid, "%q is not a quantity", text)
	}
	amount, _ := value.Mul(value, new(big.Rat).SetFloat64(factor*float64(scale))).Float64()
	// 1e-3 has no exact binary form, so a whole number can come out a hair
	// above itself; it must not be rounded up to the next.
	rounded := math.Ceil(amount - 1e-6)
	if rounded > math.MaxInt64/2 {
		return 0, Errorf(Invalid, "%q is too large", text)
	}
	return int64(rounded), nil
}
