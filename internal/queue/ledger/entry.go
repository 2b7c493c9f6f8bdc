package ledger

import (
	"encoding/binary"
	"net/http"

	"lofn"
)

// kind tells the entries of a record apart. Numbers are never given anew.
type kind byte

const (
	kindAccepted kind = 1
	kindLeased   kind = 2
	kindRetried  kind = 3
	kindSettled  kind = 4
	kindNotified kind = 5
	kindStopped  kind = 6
	kindRedriven kind = 7
	kindDropped  kind = 8
	kindVoided   kind = 9
)

// entry is one step in the life of a call. Times are Unix nanoseconds.
type entry interface {
	kind() kind
	// append writes what read reads.
	append(b []byte) []byte
}

// accepted is a call that is taken in, or the copy of one whose first entry is
// about to be trimmed: then it says what has become of it.
type accepted struct {
	id       string
	function lofn.Ref
	at       int64
	key      string // idempotency
	print    uint64 // what the key stands for
	callback string
	blob     string // the body's, if it is not in request
	standing standing
	// request is the rest, which only a delivery needs.
	request []byte
}

// standing is how far a call has come that has no outcome.
type standing struct {
	attempts, refusals uint64
	due                int64
	started            int64
	status             int
	reason             string
	worker             string // who has it leased, if anybody
	stop               bool
	refusedSince       int64
}

func (*accepted) kind() kind { return kindAccepted }

func (a *accepted) append(b []byte) []byte {
	b = appendText(b, a.id)
	b = appendText(appendText(b, a.function.Namespace), a.function.Name)
	b = binary.AppendVarint(b, a.at)
	b = binary.AppendUvarint(appendText(b, a.key), a.print)
	b = appendText(appendText(b, a.callback), a.blob)
	b = a.standing.append(b)
	return appendBytes(b, a.request)
}

func readAccepted(d *decoder) *accepted {
	a := &accepted{id: d.text(), function: d.ref(), at: d.int(), key: d.text(), print: d.uint(), callback: d.text(), blob: d.text()}
	a.standing = readStanding(d)
	a.request = d.bytes()
	return a
}

func (s *standing) append(b []byte) []byte {
	if *s == (standing{}) {
		return appendBool(b, false)
	}
	b = appendBool(b, true)
	b = binary.AppendUvarint(binary.AppendUvarint(b, s.attempts), s.refusals)
	b = binary.AppendVarint(binary.AppendVarint(b, s.due), s.started)
	b = appendText(binary.AppendVarint(b, int64(s.status)), s.reason)
	b = appendBool(appendText(b, s.worker), s.stop)
	return binary.AppendVarint(b, s.refusedSince)
}

func readStanding(d *decoder) (s standing) {
	if !d.bool() {
		return s
	}
	return standing{attempts: d.uint(), refusals: d.uint(), due: d.int(), started: d.int(),
		status: int(d.int()), reason: d.text(), worker: d.text(), stop: d.bool(), refusedSince: d.int()}
}

func (d *decoder) ref() lofn.Ref { return lofn.Ref{Namespace: d.text(), Name: d.text()} }

// appendRequest writes what is in accepted.request: the call, and its body
// unless that is a blob.
func appendRequest(b []byte, c *lofn.Call, body []byte) []byte {
	for _, text := range []string{c.Method, c.Path, c.Query, c.Host, c.Remote} {
		b = appendText(b, text)
	}
	b = binary.AppendVarint(b, c.Size)
	return appendBytes(appendHeader(b, c.Header), body)
}

// call returns the call that was accepted, and its body unless that is a blob.
func (a *accepted) call() (lofn.Call, []byte, error) {
	d := decoder{data: a.request}
	c := lofn.Call{ID: a.id, Function: a.function, Callback: a.callback, Accepted: moment(a.at),
		Method: d.text(), Path: d.text(), Query: d.text(), Host: d.text(), Remote: d.text(), Size: d.int(), Header: d.header()}
	body := d.bytes()
	return c, body, d.err()
}

// leased gives calls, or their callbacks, to a worker.
type leased struct {
	worker   string
	at       int64
	callback bool
	ids      []string
}

func (*leased) kind() kind { return kindLeased }

func (l *leased) append(b []byte) []byte {
	b = binary.AppendVarint(appendText(b, l.worker), l.at)
	return appendTexts(appendBool(b, l.callback), l.ids)
}

// retried ends a lease with another attempt to come.
type retried struct {
	id      string
	at      int64
	due     int64
	refused bool
	status  int
	reason  string
}

func (*retried) kind() kind { return kindRetried }

func (r *retried) append(b []byte) []byte {
	b = binary.AppendVarint(binary.AppendVarint(appendText(b, r.id), r.at), r.due)
	return appendText(binary.AppendVarint(appendBool(b, r.refused), int64(r.status)), r.reason)
}

// settled is the outcome of a call. It stands for itself: what came before may
// be trimmed, but for the request of a dead call.
type settled struct {
	id       string
	function lofn.Ref
	state    lofn.CallState
	accepted int64
	key      string
	print    uint64
	attempts uint64
	started  int64
	ended    int64
	status   int
	reason   string
	callback string
	notice   notice
	// answered says that there is a result, of that size.
	answered bool
	size     int64
	blob     string // the result's, if it is not in result
	// result is the header, and the body unless it is a blob.
	result []byte
}

// notice is how far a callback has come.
type notice struct {
	url      string // which is written elsewhere
	state    string
	attempts uint64
	due      int64
	status   int
	reason   string
	worker   string
}

func (*settled) kind() kind { return kindSettled }

func (s *settled) append(b []byte) []byte {
	b = appendText(b, s.id)
	b = appendText(appendText(b, s.function.Namespace), s.function.Name)
	b = binary.AppendVarint(appendText(b, string(s.state)), s.accepted)
	b = binary.AppendUvarint(appendText(b, s.key), s.print)
	b = binary.AppendVarint(binary.AppendUvarint(b, s.attempts), s.started)
	b = binary.AppendVarint(binary.AppendVarint(b, s.ended), int64(s.status))
	b = appendText(appendText(b, s.reason), s.callback)
	b = s.notice.append(b)
	b = binary.AppendVarint(appendBool(b, s.answered), s.size)
	return appendBytes(appendText(b, s.blob), s.result)
}

func readSettled(d *decoder) *settled {
	s := &settled{id: d.text(), function: d.ref(), state: lofn.CallState(d.text()), accepted: d.int(), key: d.text(), print: d.uint(),
		attempts: d.uint(), started: d.int(), ended: d.int(), status: int(d.int()), reason: d.text(), callback: d.text()}
	s.notice = readNotice(d)
	s.answered, s.size, s.blob, s.result = d.bool(), d.int(), d.text(), d.bytes()
	return s
}

func (n *notice) append(b []byte) []byte {
	if n.state == "" {
		return appendText(b, "")
	}
	b = binary.AppendUvarint(appendText(b, n.state), n.attempts)
	b = binary.AppendVarint(binary.AppendVarint(b, n.due), int64(n.status))
	return appendText(appendText(b, n.reason), n.worker)
}

func readNotice(d *decoder) (n notice) {
	if n.state = d.text(); n.state == "" {
		return n
	}
	n.attempts, n.due, n.status, n.reason, n.worker = d.uint(), d.int(), int(d.int()), d.text(), d.text()
	return n
}

// content returns the answer's header, and its body unless that is a blob.
func (s *settled) content() (http.Header, []byte, error) {
	d := decoder{data: s.result}
	header, body := d.header(), d.bytes()
	return header, body, d.err()
}

// notified ends the lease on a callback.
type notified struct {
	id     string
	state  string
	due    int64
	status int
	reason string
}

func (*notified) kind() kind { return kindNotified }

func (n *notified) append(b []byte) []byte {
	b = binary.AppendVarint(appendText(appendText(b, n.id), n.state), n.due)
	return appendText(binary.AppendVarint(b, int64(n.status)), n.reason)
}

// stopped asks whoever has a call leased to cancel it.
type stopped struct{ id string }

func (*stopped) kind() kind               { return kindStopped }
func (s *stopped) append(b []byte) []byte { return appendText(b, s.id) }

// redriven queues a dead call again.
type redriven struct {
	id string
	at int64
}

func (*redriven) kind() kind               { return kindRedriven }
func (r *redriven) append(b []byte) []byte { return binary.AppendVarint(appendText(b, r.id), r.at) }

// dropped forgets a call that has its outcome.
type dropped struct{ id string }

func (*dropped) kind() kind               { return kindDropped }
func (s *dropped) append(b []byte) []byte { return appendText(b, s.id) }

// voided takes all of a worker's leases from it.
type voided struct{ worker string }

func (*voided) kind() kind               { return kindVoided }
func (v *voided) append(b []byte) []byte { return appendText(b, v.worker) }

// readEntry reads what append wrote after its kind.
func readEntry(k kind, data []byte) (entry, error) {
	d := &decoder{data: data}
	var e entry
	switch k {
	case kindAccepted:
		e = readAccepted(d)
	case kindLeased:
		e = &leased{worker: d.text(), at: d.int(), callback: d.bool(), ids: d.texts()}
	case kindRetried:
		e = &retried{id: d.text(), at: d.int(), due: d.int(), refused: d.bool(), status: int(d.int()), reason: d.text()}
	case kindSettled:
		e = readSettled(d)
	case kindNotified:
		e = &notified{id: d.text(), state: d.text(), due: d.int(), status: int(d.int()), reason: d.text()}
	case kindStopped:
		e = &stopped{id: d.text()}
	case kindRedriven:
		e = &redriven{id: d.text(), at: d.int()}
	case kindDropped:
		e = &dropped{id: d.text()}
	case kindVoided:
		e = &voided{worker: d.text()}
	default:
		return nil, errCorrupt
	}
	return e, d.err()
}
