package jetstream

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"lofn"
	"lofn/internal/queue/ledger"
)

// Codes of the JetStream API that nats.go has no name for.
const (
	codeNotAvailable          jetstream.ErrorCode = 10008
	codeInsufficientResources jetstream.ErrorCode = 10023
	codeStorageExceeded       jetstream.ErrorCode = 10047
	codeStoreFailed           jetstream.ErrorCode = 10077
	codeStreamOffline         jetstream.ErrorCode = 10118
	codeReplicasNotSupported  jetstream.ErrorCode = 10074
	codeNoPeers               jetstream.ErrorCode = 10005
)

// translate gives the error of a request the code that says what to do, and a
// text that begins with what failed. Errors that have a code keep it.
func (k *link) translate(ctx context.Context, err error, what string) error {
	switch cause := context.Cause(ctx); {
	case err == nil:
		return nil
	case hasCode(err):
		return err
	case unsent(err):
		return lofn.Errorf(lofn.Unavailable, "%s: %s cannot be reached: %w", what, k.name, err)
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return lofn.Errorf(lofn.NotFound, "%s: it is not there: %w", what, err)
	case noRoom(err):
		return lofn.Errorf(lofn.Full, "%s: %s has no room: %w", what, k.name, err)
	case cause != nil && !errors.Is(cause, context.DeadlineExceeded) && !errors.Is(cause, context.Canceled):
		return lofn.Errorf(lofn.Unavailable, "%s: %s did not answer: %w", what, k.name, cause)
	case cause != nil, errors.Is(err, nats.ErrTimeout):
		return lofn.Errorf(lofn.DeadlineExceeded, "%s: %s did not answer in time: %w", what, k.name, err)
	case errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, nats.ErrDisconnected):
		return lofn.Errorf(lofn.Unavailable, "%s: %s did not answer: %w", what, k.name, err)
	default:
		return lofn.Errorf(lofn.Internal, "%s: %s: %w", what, k.name, err)
	}
}

// verdict is what ledger.Log promises of the error of an Append: whether the
// record may be there after all.
func (k *link) verdict(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case behind(err):
		return fmt.Errorf("%w: %w", ledger.ErrBehind, err)
	case unsent(err), noRoom(err):
		return k.translate(ctx, err, "nothing was recorded")
	case errors.Is(err, nats.ErrMaxPayload):
		return lofn.Errorf(lofn.Invalid, "nothing was recorded: %s takes messages of at most %d bytes: %w", k.name, k.conn.MaxPayload(), err)
	}
	err = k.translate(ctx, err, "it is unknown whether this was recorded")
	return lofn.Errorf(lofn.DeadlineExceeded, "%w", err)
}

func hasCode(err error) bool {
	_, ok := errors.AsType[*lofn.Error](err)
	return ok
}

// unsent reports whether the server has not seen the request.
func unsent(err error) bool {
	for _, known := range []error{
		nats.ErrReconnectBufExceeded, nats.ErrNoResponders,
		jetstream.ErrNoStreamResponse, jetstream.ErrJetStreamNotEnabled,
	} {
		if errors.Is(err, known) {
			return true
		}
	}
	return apiCode(err) == codeNotAvailable || apiCode(err) == codeStreamOffline
}

// noRoom reports whether the server refused a message because of a limit.
func noRoom(err error) bool {
	switch apiCode(err) {
	case codeInsufficientResources, codeStorageExceeded:
		return true
	case codeStoreFailed:
		return strings.Contains(err.Error(), "maximum bytes exceeded")
	}
	return false
}

// behind reports a lost compare-and-set.
func behind(err error) bool {
	code := apiCode(err)
	return code == jetstream.JSErrCodeStreamWrongLastSequence || code == jetstream.JSErrCodeStreamWrongLastSequenceConstant
}

// refusedAt returns the number of the last record, as whoever refused another
// one has it.
func refusedAt(err error) (last uint64, ok bool) {
	api, ok := errors.AsType[*jetstream.APIError](err)
	if !ok || api.ErrorCode != jetstream.JSErrCodeStreamWrongLastSequence {
		return 0, false
	}
	_, scan := fmt.Sscanf(api.Description, "wrong last sequence: %d", &last)
	return last, scan == nil
}

func apiCode(err error) jetstream.ErrorCode {
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		return api.ErrorCode
	}
	return 0
}
