package queue

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"lofn"
)

// Headers of a signed callback, by the specification of standardwebhooks.com.
const (
	headerWebhookID        = "Webhook-Id"
	headerWebhookTimestamp = "Webhook-Timestamp"
	headerWebhookSignature = "Webhook-Signature"
)

// sign signs an outcome with the secret that its function names, as Standard
// Webhooks 1.0 says, so that there are libraries which verify it. A receiver
// that uses none computes the HMAC-SHA256, with the same secret as the key, of
//
//	Webhook-Id + "." + Webhook-Timestamp + "." + the body
//
// and compares it, in constant time, to what follows "v1," in
// Webhook-Signature, which is base64. It refuses timestamps that are minutes
// off, so that nobody can send an old callback again, and may ignore an id that
// it has seen: it is the same for each attempt.
//
// A secret that begins with "whsec_" is base64 after that; of any other, the
// bytes are the key, without white space at the end.
func (t callbackTask) sign(ctx context.Context, h http.Header, o *outcome, secret string) error {
	call := o.delivery.Call()
	key, err := t.key(ctx, call.Function.Namespace, secret)
	if err != nil {
		return err
	}
	id, at := webhookID(call.ID), strconv.FormatInt(time.Now().Unix(), 10)
	sum := hmac.New(sha256.New, key)
	_, _ = io.WriteString(sum, id+"."+at+".")
	if o.size > 0 {
		if err := o.hash(sum); err != nil {
			return lofn.Errorf(lofn.Unavailable, "the answer of the function cannot be read: %w", err)
		}
	}
	h.Set(headerWebhookID, id)
	h.Set(headerWebhookTimestamp, at)
	h.Set(headerWebhookSignature, "v1,"+base64.StdEncoding.EncodeToString(sum.Sum(nil)))
	return nil
}

// hash reads the body, which is still there to be sent after that: it may be
// too large to be held.
func (o *outcome) hash(to io.Writer) error {
	body, err := o.reopen()
	if err != nil {
		return err
	}
	defer body.Close()
	_, err = io.Copy(to, body)
	return err
}

// key reads the secret that callbacks are signed with. It may be created while
// they are tried again.
func (t callbackTask) key(ctx context.Context, namespace, name string) ([]byte, error) {
	value, err := t.Secrets.Secret(ctx, namespace, name)
	if lofn.CodeOf(err) == lofn.NotFound {
		return nil, lofn.Errorf(lofn.Unavailable, "callbacks are to be signed with secret %q (%s), which namespace %q does not have: create it", name, lofn.AnnotationCallbackSecret, namespace)
	}
	if err != nil {
		return nil, lofn.Errorf(lofn.Unavailable, "secret %q cannot be read: %w", name, err)
	}
	if value = bytes.TrimRight(value, " \t\r\n"); len(value) == 0 {
		return nil, lofn.Errorf(lofn.Unavailable, "secret %q is empty, and callbacks are to be signed with it", name)
	}
	encoded, standard := strings.CutPrefix(string(value), "whsec_")
	if !standard {
		return value, nil
	}
	if value, err = base64.StdEncoding.DecodeString(encoded); err != nil {
		return nil, lofn.Errorf(lofn.Unavailable, "secret %q begins with whsec_, but is not base64 after that", name)
	}
	return value, nil
}

// webhookID is the call's id without full stops, which separate what is signed:
// the id may be its caller's choice.
func webhookID(call string) string {
	return strings.NewReplacer("%", "%25", ".", "%2E").Replace(call)
}
