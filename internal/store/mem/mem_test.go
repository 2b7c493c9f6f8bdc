package mem_test

import (
	"testing"

	"lofn"
	"lofn/internal/store/mem"
	"lofn/internal/store/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) lofn.Store[lofn.Function] { return mem.New[lofn.Function]() })
}
