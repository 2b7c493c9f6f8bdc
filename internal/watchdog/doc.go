// Package watchdog feeds the processes of one replica of a function: it turns
// HTTP requests into processes (modes streaming, serializing and classic),
// files (static) or requests to a child that speaks HTTP itself (http). The
// process provider uses it in the platform; cmd/fwatchdog makes a program of it
// that runs inside containers.
//
// It keeps the contract of the OpenFaaS watchdogs, so that images and
// templates made for those work unchanged. cmd/fwatchdog's tests hold one table
// of cases against all three. It does differently, on purpose:
//
// Deadlines
//   - A call has one: exec_timeout, or X-Timeout if that is shorter, in all
//     modes. read_timeout and write_timeout bound how long a client may take
//     for the next piece, not how long a call may last.
//   - The whole process group ends with the call: at its deadline, when the
//     client goes, and when the process itself has ended.
//   - Streams in mode http (Server-Sent Events, NDJSON, WebSocket) are without
//     the deadline of other calls, as there, but also without being cut by
//     write_timeout; stream_timeout or X-Timeout give them one.
//
// Answers
//   - streaming: a process that fails or runs out of time before it wrote
//     anything is answered with 500 or 504 and the reason, not with an empty
//     200. One that is killed later breaks the answer off, so that the caller
//     cannot take half a result for a whole one; X-Duration-Seconds follows
//     the body as a trailer.
//   - Errors of the watchdog are a line of text that says what ran out or
//     broke, except in mode http, whose 500 and 504 stay empty. They carry
//     X-OpenFaaS-Internal in all modes but for classic's 408.
//   - http: what the function sends is passed on as it comes, whatever its
//     type, and compressed bodies, trailers and interim answers as they are. It
//     may answer before it has read the request to its end.
//
// Requests
//   - http: paths are not cleaned by a redirect; a known Content-Length is
//     told; nothing is added; hop-by-hop headers stay behind. While the child
//     was never reached, calls wait for it to listen instead of failing, until
//     ready_timeout after its start.
//   - Environment: the header Proxy is left out, since some programs take
//     HTTP_PROXY in any case for their proxy setting; so are headers whose
//     names would shadow Http_Method, Http_Path and their like, names that are
//     not letters, digits, '-' and '_', and values with NUL or line breaks.
//     Of X-A and X_A, which share a variable, X-A wins. A path with control
//     characters is given percent-encoded. Http_Host, Http_ContentLength and
//     Http_Content_Length are set in all fork modes, and where the body came
//     without a length they tell the one it had.
//   - prestart, which the others lack, has processes wait for their calls. They
//     get no Http_* variables, and one call each.
//   - static: files outside the folder are not served, through links neither.
//
// Logs and configuration
//   - No line of a log is too long; log_buffer_size has no effect. The size in
//     the log of a call is what was sent, and the status too.
//   - A variable with a value that makes no sense is an error that names it. In
//     mode classic a flag is true if it says "true", as there; but jwt_auth is
//     on with "1" as well.
//   - The two OpenFaaS programs are one. Where mode is not set, the variables
//     and the program's name decide: see StandaloneFromEnv.
//   - mode=inproc, for handlers compiled into the watchdog, does not exist.
//
// Tokens (jwt_auth)
//   - Only ES256 and RS256; patterns match the whole name of a function, not a
//     part of it; keys are fetched again when the issuer has changed them.
package watchdog
