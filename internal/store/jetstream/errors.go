package jetstream

import (
	"context"
	"errors"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"lofn"
)

// Codes of the JetStream API that nats.go has no name for.
const (
	codeInsufficientResources jetstream.ErrorCode = 10023
	codeStorageExceeded       jetstream.ErrorCode = 10047
	codeStoreFailed           jetstream.ErrorCode = 10077
	codeStreamOffline         jetstream.ErrorCode = 10118
)

// translate gives an error of the engine the code that says what the caller
// can do, and a text that begins with what failed. Errors that have a code
// keep it.
func (s *Store[T]) translate(err error, what string) error {
	if err == nil {
		return nil
	}
	if coded, ok := errors.AsType[*lofn.Error](err); ok {
		if coded.Code == lofn.Unavailable || coded.Code == lofn.Full {
			return lofn.Errorf(lofn.Unavailable, "%s: %w", what, err)
		}
		return err
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return lofn.Errorf(lofn.DeadlineExceeded, "%s: the time for it ran out: %w", what, err)
	case diskFull(err):
		return lofn.Errorf(lofn.Unavailable, "%s: the disk of %s is full or fails: %w", what, s.engine.dir, err)
	case closed(err):
		return lofn.Errorf(lofn.Unavailable, "%s: the store is closed: %w", what, err)
	case errors.Is(err, nats.ErrTimeout):
		return lofn.Errorf(lofn.Unavailable, "%s: the store does not answer: %w", what, err)
	case errors.Is(err, nats.ErrMaxPayload):
		return lofn.Errorf(lofn.Invalid, "%s: it is too large: %w", what, err)
	default:
		return lofn.Errorf(lofn.Internal, "%s: %w", what, err)
	}
}

func closed(err error) bool {
	for _, known := range []error{
		nats.ErrConnectionClosed, nats.ErrNoResponders, nats.ErrDisconnected,
		jetstream.ErrMsgIteratorClosed, jetstream.ErrNoStreamResponse, jetstream.ErrJetStreamNotEnabled,
	} {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}

func diskFull(err error) bool {
	if strings.Contains(err.Error(), "no space left") {
		return true
	}
	api, ok := errors.AsType[*jetstream.APIError](err)
	if !ok {
		return false
	}
	switch api.ErrorCode {
	case codeInsufficientResources, codeStorageExceeded, codeStoreFailed, codeStreamOffline:
		return true
	}
	return false
}

// wrongRevision reports a lost compare-and-set.
func wrongRevision(err error) bool {
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence ||
		api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

func notFound(ref lofn.Ref) error {
	return lofn.Errorf(lofn.NotFound, "%s does not exist", ref)
}

func conflict(ref lofn.Ref) error {
	return lofn.Errorf(lofn.Conflict, "%s was changed by somebody else: read it again and retry", ref)
}
