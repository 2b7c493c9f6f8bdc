package mem_test

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"lofn"
	"lofn/internal/queue/mem"
)

var echo = lofn.Ref{Namespace: lofn.DefaultNamespace, Name: "echo"}

func TestSmoke(t *testing.T) {
	ctx := t.Context()
	q, err := mem.New(lofn.DefaultQueueLimits, nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := q.Enqueue(ctx, lofn.Submission{Call: lofn.Call{Function: echo, Method: "POST", Path: "/", Accepted: time.Now(), Callback: "http://x/"}, Body: strings.NewReader("hi"), Key: "k"})
	if err != nil {
		t.Fatal(err)
	}
	d, err := q.Take(ctx, lofn.Lane{Function: echo}, 10)
	if err != nil || len(d) != 1 {
		t.Fatal(d, err)
	}
	body, _ := d[0].Body(ctx)
	text, _ := io.ReadAll(body)
	if string(text) != "hi" {
		t.Fatal(string(text))
	}
	sp := d[0].Spool()
	_, _ = sp.Write([]byte("answer"))
	if err := d[0].Settle(ctx, lofn.Settlement{State: lofn.CallSucceeded, Status: 200, Body: sp, Started: time.Now()}); err != nil {
		t.Fatal(err)
	}
	if err := d[0].Settle(ctx, lofn.Settlement{State: lofn.CallFailed}); lofn.CodeOf(err) != lofn.Conflict {
		t.Fatal(err)
	}
	now, err := q.Status(ctx, s.ID)
	fmt.Printf("%+v %v\n", now, err)
	r, err := q.Result(ctx, s.ID)
	if err != nil {
		t.Fatal(err)
	}
	text, _ = io.ReadAll(r.Body)
	if string(text) != "answer" {
		t.Fatal(string(text))
	}
	c, err := q.Take(ctx, lofn.Lane{Function: echo, Callback: true}, 10)
	if err != nil || len(c) != 1 {
		t.Fatal(c, err)
	}
	if err := c[0].Settle(ctx, lofn.Settlement{State: lofn.CallSucceeded, Status: 204}); err != nil {
		t.Fatal(err)
	}
	again, err := q.Enqueue(ctx, lofn.Submission{Call: lofn.Call{Function: echo, Method: "POST", Path: "/"}, Body: strings.NewReader("hi"), Key: "k"})
	if err != nil || again.ID != s.ID {
		t.Fatal(again, err)
	}
	if err := q.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func BenchmarkRound(b *testing.B) {
	q, err := mem.New(lofn.DefaultQueueLimits, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		ctx := context.Background()
		for pb.Next() {
			if _, err := q.Enqueue(ctx, lofn.Submission{Call: lofn.Call{Function: echo, Method: "POST", Path: "/", Accepted: time.Now()}, Body: strings.NewReader("hi")}); err != nil {
				b.Fatal(err)
			}
			ds, err := q.Take(ctx, lofn.Lane{Function: echo}, 1)
			if err != nil {
				b.Fatal(err)
			}
			for _, d := range ds {
				if err := d.Settle(ctx, lofn.Settlement{State: lofn.CallSucceeded, Status: 200}); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}
