package jetstream

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// getFromLeader reads a record by the request that only the stream's leader
// answers: another server may not have it yet.
func (l *Log) getFromLeader(ctx context.Context, number uint64) ([]byte, error) {
	answer, err := l.link.conn.RequestWithContext(ctx, jetstream.DefaultAPIPrefix+"STREAM.MSG.GET."+l.name, fmt.Appendf(nil, `{"seq":%d}`, number))
	if err != nil {
		return nil, err
	}
	var found struct {
		Message *struct {
			Sequence uint64 `json:"seq"`
			Data     []byte `json:"data"`
		} `json:"message"`
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(answer.Data, &found); err != nil {
		return nil, fmt.Errorf("the answer to a request for record %d makes no sense: %w", number, err)
	}
	switch {
	case found.Error != nil && found.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		return nil, jetstream.ErrMsgNotFound
	case found.Error != nil:
		return nil, found.Error
	case found.Message == nil || found.Message.Sequence != number:
		return nil, fmt.Errorf("the answer to a request for record %d is another one", number)
	}
	return found.Message.Data, nil
}
