package cli

import (
	"cmp"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"lofn"
)

// QueueOptions are what the flags of `serve` say about asynchronous calls.
type QueueOptions struct {
	// URL is that of a NATS server, or several, separated by commas; empty for
	// the engine in the data folder.
	URL string
	// Credentials and CA are files for it, Stream is the name of the queue there,
	// and Replicas how many servers of a cluster keep a copy.
	Credentials, CA, Stream string
	Replicas                int
	Limits                  lofn.QueueLimits
}

// queueFlags are the flags, as they were written.
type queueFlags struct {
	getenv                            func(string) string
	o                                 QueueOptions
	replicas, backlog, keep, keepDead string
}

func (q *queueFlags) add(cmd *cobra.Command) {
	flags, limits := cmd.Flags(), lofn.DefaultQueueLimits
	flags.StringVar(&q.o.URL, "nats-url", q.getenv("LOFN_NATS_URL"), "NATS servers to keep asynchronous calls in, separated by commas, such as nats://10.0.0.1:4222 (LOFN_NATS_URL); default is the data folder")
	flags.StringVar(&q.o.Credentials, "nats-creds", q.getenv("LOFN_NATS_CREDS"), "file with the credentials for them (LOFN_NATS_CREDS)")
	flags.StringVar(&q.o.CA, "nats-ca", q.getenv("LOFN_NATS_CA"), "file with the authority that signed their certificates (LOFN_NATS_CA)")
	flags.StringVar(&q.o.Stream, "nats-stream", q.getenv("LOFN_NATS_STREAM"), "name of the queue there, one for each platform (LOFN_NATS_STREAM); default LOFN_CALLS")
	flags.StringVar(&q.replicas, "nats-replicas", cmp.Or(q.getenv("LOFN_NATS_REPLICAS"), "0"), "how many servers of the cluster keep a copy, 0 for as many as do already (LOFN_NATS_REPLICAS)")
	flags.StringVar(&q.backlog, "queue-backlog", cmp.Or(q.getenv("LOFN_QUEUE_BACKLOG"), strconv.Itoa(limits.Backlog)), "how many asynchronous calls may wait or run; one function may have half of them unless it says otherwise (LOFN_QUEUE_BACKLOG)")
	flags.StringVar(&q.keep, "queue-keep", cmp.Or(q.getenv("LOFN_QUEUE_KEEP"), limits.Keep.String()), "how long the outcomes of asynchronous calls are kept (LOFN_QUEUE_KEEP)")
	flags.StringVar(&q.keepDead, "queue-keep-dead", cmp.Or(q.getenv("LOFN_QUEUE_KEEP_DEAD"), "0"), "how long dead ones are kept, 0 for until somebody drops them (LOFN_QUEUE_KEEP_DEAD)")
}

func (q *queueFlags) options() (o QueueOptions, err error) {
	o = q.o
	o.Limits = lofn.DefaultQueueLimits
	if o.Replicas, err = strconv.Atoi(q.replicas); err != nil || o.Replicas < 0 || o.Replicas > 5 {
		return o, fmt.Errorf("LOFN_NATS_REPLICAS or --nats-replicas: %q is not a number from 0 to 5", q.replicas)
	}
	if o.Limits.Backlog, err = strconv.Atoi(q.backlog); err != nil || o.Limits.Backlog < 1 {
		return o, fmt.Errorf("LOFN_QUEUE_BACKLOG or --queue-backlog: %q is not a number of calls: use 1 or more", q.backlog)
	}
	o.Limits.FunctionBacklog = max(o.Limits.Backlog/2, 1)
	if o.Limits.Keep, err = time.ParseDuration(q.keep); err != nil || o.Limits.Keep <= 0 {
		return o, fmt.Errorf("LOFN_QUEUE_KEEP or --queue-keep: %q is not a duration: use one such as 24h or 30m", q.keep)
	}
	if o.Limits.KeepDead, err = time.ParseDuration(cmp.Or(q.keepDead, "0")); err != nil || o.Limits.KeepDead < 0 {
		return o, fmt.Errorf("LOFN_QUEUE_KEEP_DEAD or --queue-keep-dead: %q is not a duration: use one such as 720h, or 0", q.keepDead)
	}
	return o, nil
}
