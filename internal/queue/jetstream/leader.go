package jetstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// message is what is at a place of a stream.
type message struct {
	Sequence uint64 `json:"seq"`
	Data     []byte `json:"data"`
}

// get reads the message with a number; or, of a subject, the first one from
// that number on. Any server that has the stream answers, and if it does not
// have the message yet, the one that surely would.
func (k *link) get(ctx context.Context, stream jetstream.Stream, number uint64, subject string) (message, error) {
	var options []jetstream.GetMsgOpt
	if subject != "" {
		options = append(options, jetstream.WithGetMsgSubject(subject))
	}
	found, err := stream.GetMsg(ctx, number, options...)
	if err == nil {
		return message{found.Sequence, found.Data}, nil
	}
	if !errors.Is(err, jetstream.ErrMsgNotFound) {
		return message{}, err
	}
	return k.getFromLeader(ctx, stream.CachedInfo().Config.Name, number, subject)
}

func (k *link) getFromLeader(ctx context.Context, stream string, number uint64, subject string) (message, error) {
	question, err := json.Marshal(struct {
		Sequence uint64 `json:"seq"`
		Subject  string `json:"next_by_subj,omitempty"`
	}{number, subject})
	if err != nil {
		return message{}, err
	}
	answer, err := k.conn.RequestWithContext(ctx, jetstream.DefaultAPIPrefix+"STREAM.MSG.GET."+stream, question)
	if err != nil {
		return message{}, err
	}
	var found struct {
		Message message             `json:"message"`
		Error   *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(answer.Data, &found); err != nil {
		return message{}, fmt.Errorf("the answer to a request for message %d makes no sense: %w", number, err)
	}
	switch {
	case found.Error == nil:
		return found.Message, nil
	case found.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		return message{}, jetstream.ErrMsgNotFound
	default:
		return message{}, found.Error
	}
}
