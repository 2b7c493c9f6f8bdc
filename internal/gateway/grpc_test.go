package gateway_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"lofn/internal/gateway"
	"lofn/internal/pool"
)

// secure is net/http's door behind TLS.
func secure(_ testing.TB, g *gateway.Gateway, _ *pool.Pool) (url string, closeDoor func()) {
	server := httptest.NewUnstartedServer(g)
	server.EnableHTTP2 = true
	server.StartTLS()
	return server.URL, server.Close
}

// eachHTTP2Door runs a test through every door that HTTP/2 can come by.
func eachHTTP2Door(t *testing.T, test func(*testing.T, door)) {
	t.Run("h2c", func(t *testing.T) { test(t, unsealed) })
	t.Run("secure", func(t *testing.T) { test(t, secure) })
}

// below calls the methods of a service that is not at the root of its server.
type below struct {
	*grpc.ClientConn
	path string
}

func (b below) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	return b.ClientConn.Invoke(ctx, b.path+method, args, reply, opts...)
}

func (b below) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	return b.ClientConn.NewStream(ctx, desc, b.path+method, opts...)
}

// grpcClient is a client of a function.
func (p *platform) grpcClient(path string) pb.TestServiceClient {
	p.Helper()
	scheme, address, _ := strings.Cut(p.url, "://")
	creds := insecure.NewCredentials()
	if scheme == "https" {
		creds = credentials.NewTLS(&tls.Config{InsecureSkipVerify: true})
	}
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(creds))
	if err != nil {
		p.Fatal(err)
	}
	p.Cleanup(func() { conn.Close() })
	return pb.NewTestServiceClient(below{conn, path})
}

// service is a function in gRPC.
type service struct {
	pb.UnimplementedTestServiceServer
	ended chan error // gets why a call ended that waited for its end
}

func serveGRPC(s *service) func(net.Listener) {
	return func(l net.Listener) {
		server := grpc.NewServer()
		pb.RegisterTestServiceServer(server, s)
		_ = server.Serve(l)
		server.Stop()
	}
}

func (s *service) UnaryCall(ctx context.Context, r *pb.SimpleRequest) (*pb.SimpleResponse, error) {
	in, _ := metadata.FromIncomingContext(ctx)
	_ = grpc.SetHeader(ctx, metadata.Pairs("x-seen", strings.Join(in["x-mine"], ","), "x-bin-bin", "\x00\xff"))
	_ = grpc.SetTrailer(ctx, metadata.Pairs("x-sum", fmt.Sprint(len(r.Payload.GetBody()))))
	switch r.ResponseStatus.GetCode() {
	case 0:
		return &pb.SimpleResponse{Payload: r.Payload}, nil
	case int32(codes.DeadlineExceeded):
		<-ctx.Done()
		s.ended <- ctx.Err()
	}
	return nil, status.Error(codes.Code(r.ResponseStatus.Code), r.ResponseStatus.Message)
}

// StreamingOutputCall sends one message, and then waits for the call's end.
func (s *service) StreamingOutputCall(_ *pb.StreamingOutputCallRequest, out grpc.ServerStreamingServer[pb.StreamingOutputCallResponse]) error {
	if err := out.Send(&pb.StreamingOutputCallResponse{Payload: &pb.Payload{Body: []byte("first")}}); err != nil {
		return err
	}
	<-out.Context().Done()
	s.ended <- out.Context().Err()
	return out.Context().Err()
}

func (s *service) StreamingInputCall(in grpc.ClientStreamingServer[pb.StreamingInputCallRequest, pb.StreamingInputCallResponse]) error {
	var size int32
	for {
		r, err := in.Recv()
		if err == io.EOF {
			return in.SendAndClose(&pb.StreamingInputCallResponse{AggregatedPayloadSize: size})
		}
		if err != nil {
			return err
		}
		size += int32(len(r.Payload.Body))
	}
}

func (s *service) FullDuplexCall(both grpc.BidiStreamingServer[pb.StreamingOutputCallRequest, pb.StreamingOutputCallResponse]) error {
	for {
		r, err := both.Recv()
		if err == io.EOF {
			return status.Error(codes.ResourceExhausted, "no more")
		}
		if err != nil {
			return err
		}
		if err := both.Send(&pb.StreamingOutputCallResponse{Payload: r.Payload}); err != nil {
			return err
		}
	}
}

func TestGRPCPassesThrough(t *testing.T) {
	eachHTTP2Door(t, func(t *testing.T, d door) {
		client := besides(t, d, nil, serveGRPC(&service{})).grpcClient("/function/echo")
		payload := &pb.Payload{Body: []byte(strings.Repeat("x", 300_000))}

		var header, trailer metadata.MD
		ctx := metadata.AppendToOutgoingContext(t.Context(), "x-mine", "1", "x-mine", "2")
		answer, err := client.UnaryCall(ctx, &pb.SimpleRequest{Payload: payload}, grpc.Header(&header), grpc.Trailer(&trailer))
		if err != nil || len(answer.Payload.Body) != 300_000 {
			t.Fatalf("unary: %v (%v)", answer, err)
		}
		if header.Get("x-seen")[0] != "1,2" || header.Get("x-bin-bin")[0] != "\x00\xff" || trailer.Get("x-sum")[0] != "300000" || len(header.Get("x-call-id")) != 1 {
			t.Errorf("unary: header %v trailer %v", header, trailer)
		}
		_, err = client.UnaryCall(t.Context(), &pb.SimpleRequest{ResponseStatus: &pb.EchoStatus{Code: int32(codes.AlreadyExists), Message: "päh: 100%"}})
		if status.Code(err) != codes.AlreadyExists || status.Convert(err).Message() != "päh: 100%" {
			t.Errorf("a function's own error: %v", err)
		}

		in, err := client.StreamingInputCall(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for range 10 {
			if err := in.Send(&pb.StreamingInputCallRequest{Payload: payload}); err != nil {
				t.Fatal(err)
			}
		}
		if sum, err := in.CloseAndRecv(); err != nil || sum.AggregatedPayloadSize != 3_000_000 {
			t.Errorf("client stream: %v (%v)", sum, err)
		}

		both, err := client.FullDuplexCall(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for i := range 10 {
			// Each message is answered before the next is sent.
			message := &pb.Payload{Body: fmt.Append(nil, i)}
			if err := both.Send(&pb.StreamingOutputCallRequest{Payload: message}); err != nil {
				t.Fatal(err)
			}
			if back, err := both.Recv(); err != nil || string(back.Payload.Body) != fmt.Sprint(i) {
				t.Fatalf("message %d came back as %v (%v)", i, back, err)
			}
		}
		_ = both.CloseSend()
		if _, err := both.Recv(); status.Code(err) != codes.ResourceExhausted || status.Convert(err).Message() != "no more" {
			t.Errorf("the end of both streams: %v", err)
		}
	})
}

// TestAGRPCCallEndsAtItsDeadline: the function's own one, in a call that was
// not answered and in a stream that was begun. A client that took it for
// Unavailable would try again.
func TestAGRPCCallEndsAtItsDeadline(t *testing.T) {
	eachHTTP2Door(t, func(t *testing.T, d door) {
		s := &service{ended: make(chan error, 2)}
		p := besides(t, d, map[string]string{"exec_timeout": "300ms"}, serveGRPC(s))
		client := p.grpcClient("/function/echo")
		_, err := client.UnaryCall(t.Context(), &pb.SimpleRequest{ResponseStatus: &pb.EchoStatus{Code: int32(codes.DeadlineExceeded)}})
		check := func(what string, err error) {
			t.Helper()
			if status.Code(err) != codes.DeadlineExceeded || !strings.Contains(err.Error(), "function echo.openfaas-fn did not finish within 300ms, as its exec_timeout allows") {
				t.Errorf("%s: %v", what, err)
			}
			if cause := <-s.ended; !errors.Is(cause, context.Canceled) {
				t.Errorf("%s: the function's work ended with %v", what, cause)
			}
		}
		check("unary", err)
		stream, err := client.StreamingOutputCall(t.Context(), &pb.StreamingOutputCallRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if first, err := stream.Recv(); err != nil || string(first.Payload.Body) != "first" {
			t.Fatalf("got %v (%v)", first, err)
		}
		_, err = stream.Recv()
		check("stream", err)
	})
}

// TestAGRPCClientThatLeavesEndsTheCall: by its own deadline, which the function
// is told too, and by a reset.
func TestAGRPCClientThatLeavesEndsTheCall(t *testing.T) {
	eachHTTP2Door(t, func(t *testing.T, d door) {
		s := &service{ended: make(chan error, 1)}
		client := besides(t, d, nil, serveGRPC(s)).grpcClient("/function/echo")
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		_, err := client.UnaryCall(ctx, &pb.SimpleRequest{ResponseStatus: &pb.EchoStatus{Code: int32(codes.DeadlineExceeded)}})
		if status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("the client's deadline: %v", err)
		}
		<-s.ended // by the one or the other: which is first is a race

		ctx, leave := context.WithCancel(t.Context())
		stream, err := client.StreamingOutputCall(ctx, &pb.StreamingOutputCallRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); err != nil {
			t.Fatal(err)
		}
		leave()
		if cause := <-s.ended; !errors.Is(cause, context.Canceled) {
			t.Errorf("the function's work ended with %v", cause)
		}
	})
}

// TestGRPCErrorsOfThePlatform: what the platform itself has to say comes as a
// status of gRPC, and is counted as what it is.
func TestGRPCErrorsOfThePlatform(t *testing.T) {
	eachHTTP2Door(t, func(t *testing.T, d door) {
		plain := func(l net.Listener) {
			_ = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "HTTP/1.1 only") }))
		}
		// Python's http.server answers so to a version that it does not know.
		nameless := raw(func(conn net.Conn) {
			fmt.Fprint(conn, "<!DOCTYPE HTML>")
			drain(conn) // closed with something unread it would be reset
		})
		silent := raw(func(net.Conn) {})
		for _, tc := range []struct {
			path     string
			serve    func(net.Listener)
			code     codes.Code
			contains string
		}{
			{"/function/echo", plain, codes.Unimplemented, "does not speak HTTP/2"},
			{"/function/echo", nameless, codes.Unimplemented, "does not speak HTTP/2"},
			{"/function/echo", silent, codes.Unavailable, "broke the call off"},
			{"/function/nope", plain, codes.Unimplemented, "error finding function nope.openfaas-fn"},
		} {
			_, err := besides(t, d, nil, tc.serve).grpcClient(tc.path).UnaryCall(t.Context(), &pb.SimpleRequest{})
			if status.Code(err) != tc.code || !strings.Contains(status.Convert(err).Message(), tc.contains) {
				t.Errorf("%s: %v, want %v with %q", tc.path, err, tc.code, tc.contains)
			}
		}
		gone := besides(t, d, nil, raw(func(conn net.Conn) {
			_, _ = conn.Write([]byte{0, 0, 0, 4, 0, 0, 0, 0, 0}) // settings, and then nothing
		}))
		_, err := gone.grpcClient("/function/echo").UnaryCall(t.Context(), &pb.SimpleRequest{})
		if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "broke the call off") {
			t.Errorf("a function that hangs up: %v", err)
		}
		gone.eventually("the failure is counted", func() bool {
			return strings.Contains(gone.scrape(), `gateway_function_invocation_total{code="502",function_name="echo.openfaas-fn"} 1`)
		})
	})
}

func (p *platform) scrape() string {
	w := httptest.NewRecorder()
	p.metrics.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	return w.Body.String()
}
