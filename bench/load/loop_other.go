//go:build !linux

package load

import (
	"context"
	"errors"
)

func run(context.Context, Target, Plan) (Result, error) {
	return Result{}, errors.New("load is generated on Linux only, as functions run on Linux only")
}
