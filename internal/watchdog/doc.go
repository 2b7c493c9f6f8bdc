// Package watchdog feeds the processes of one replica of a function: it turns
// HTTP requests into processes (modes streaming, serializing and classic),
// files (static) or requests to a child that speaks HTTP itself (http).
//
// It keeps the contract of the OpenFaaS watchdogs, so that images and
// templates made for those work unchanged. It does differently, on purpose:
//
//   - streaming: a process that fails or runs out of time before it wrote
//     anything is answered with 500 or 504 and the reason, not with an empty
//     200. One that is killed later breaks the answer off, so that the caller
//     cannot take half a result for a whole one; X-Duration-Seconds follows
//     the body as a trailer.
//   - The whole process group ends with the call: at its deadline, when the
//     client goes, and when the process itself has ended.
//   - Environment: the header Proxy is left out, since some programs take
//     HTTP_PROXY in any case for their proxy setting; so are headers whose
//     names would shadow Http_Method, Http_Path and their like, names that are
//     not letters, digits, '-' and '_', and values with NUL or line breaks.
//     Of X-A and X_A, which share a variable, X-A wins. A path with control
//     characters is given percent-encoded. Http_Host, Http_ContentLength and
//     Http_Content_Length are set in all fork modes, and where the body came
//     without a length they tell the one it had.
//   - X-Timeout shortens exec_timeout in all modes, not only in http.
//   - static: files outside the folder are not served, through links neither.
//   - log_buffer_size has no effect: no line of a log is too long.
//   - A variable with a value that makes no sense is an error that names it,
//     and so is jwt_auth=true, since this watchdog does not check tokens.
package watchdog
