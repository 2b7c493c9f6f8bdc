package gateway_test

import "strings"

// attempt is a request, or several on one connection, by which somebody might
// try to have proxy and function see different ones (RFC 9112, 11.2).
type attempt struct {
	what string
	// raw is what is sent, in which {} is the function's path. What must never
	// become a request asks for a path with "smuggled" in it.
	raw string
	// answers are the statuses in order, that of lastRequest included where the
	// connection lives that long.
	answers string
}

const (
	post = "POST {} HTTP/1.1\r\nHost: x\r\n"
	get  = "GET {} HTTP/1.1\r\nHost: x\r\n"
	te   = post + "Transfer-Encoding: chunked\r\n"
	// smuggled is what an attacker wants to be taken for a request.
	smuggled = "GET {}/smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
	chunked  = "4\r\nbody\r\n0\r\n\r\n"
)

// attempts is the corpus by what is wrong; doors_test.go has more, without a
// word on what must come of them.
var attempts = map[string][]attempt{
	"length": lengthAttempts, "coding": codingAttempts, "chunk": chunkAttempts, "head": headAttempts, "line": lineAttempts,
}

// A length that is not one: whoever takes it for another one sees another end.
var lengthAttempts = []attempt{
	{"a body that looks like a request", post + "Content-Length: 49\r\n\r\n" + strings.ReplaceAll(smuggled, "{}", "/function/echo"), "200 200"},
	{"a length, twice the same", post + "Content-Length: 4\r\nContent-Length: 4\r\n\r\nbody", "200 200"},
	{"two lengths, the shorter first", post + "Content-Length: 0\r\nContent-Length: 49\r\n\r\n" + smuggled, "400"},
	{"two lengths, the longer first", post + "Content-Length: 49\r\nContent-Length: 0\r\n\r\n" + smuggled, "400"},
	{"a list of lengths, the same", post + "Content-Length: 4, 4\r\n\r\nbody", "400"},
	{"a list of lengths, different", post + "Content-Length: 0, 50\r\n\r\n" + smuggled, "400"},
	{"a length and nothing after a comma", post + "Content-Length: 4,\r\n\r\nbody", "400"},
	{"a length with a plus", post + "Content-Length: +4\r\n\r\nbody", "400"},
	{"a length with a minus", post + "Content-Length: -4\r\n\r\nbody", "400"},
	{"minus nothing", post + "Content-Length: -0\r\n\r\n", "400"},
	{"a length with a space inside", post + "Content-Length: 1 0\r\n\r\nbodybody10", "400"},
	{"a length with spaces around", post + "Content-Length:   4  \r\n\r\nbody", "200 200"},
	{"a length with tabs around", post + "Content-Length:\t4\t\r\n\r\nbody", "200 200"},
	{"a length with a vertical tab", post + "Content-Length: \x0b4\r\n\r\nbody", "400"},
	{"a length with a form feed", post + "Content-Length: 4\x0c\r\n\r\nbody", "400"},
	{"a length with leading zeros", post + "Content-Length: 0004\r\n\r\nbody", "200 200"},
	{"an octal length", post + "Content-Length: 010\r\n\r\nbodybody10", "200 200"},
	{"a hexadecimal length", post + "Content-Length: 0x4\r\n\r\nbody", "400"},
	{"a length in another script", post + "Content-Length: \xd9\xa4\r\n\r\nbody", "400"},
	{"a length with a fraction", post + "Content-Length: 4.0\r\n\r\nbody", "400"},
	{"a length with an exponent", post + "Content-Length: 4e0\r\n\r\nbody", "400"},
	{"a length with an underscore", post + "Content-Length: 0_4\r\n\r\nbody", "400"},
	{"a length in quotes", post + "Content-Length: \"4\"\r\n\r\nbody", "400"},
	{"an empty length", post + "Content-Length:\r\n\r\n" + smuggled, "400"},
	{"a length of 2^63", post + "Content-Length: 9223372036854775808\r\n\r\nbody", "400"},
	{"a length of 2^64, which some take for 0", post + "Content-Length: 18446744073709551616\r\n\r\n" + smuggled, "400"},
	{"a length of 2^64+4", post + "Content-Length: 18446744073709551620\r\n\r\nbody", "400"},
	{"a length and a NUL", post + "Content-Length: 4\x00\r\n\r\nbody", "400"},
	{"a length with a space before the colon", post + "Content-Length : 50\r\n\r\n" + smuggled, "400"},
	{"a length with a tab before the colon", post + "Content-Length\t: 50\r\n\r\n" + smuggled, "400"},
	{"a length on the next line", post + "Content-Length:\r\n 4\r\n\r\nbody", "200 200"},
	{"a length, folded in its middle", post + "Content-Length: 1\r\n 0\r\n\r\nbodybody10", "400"},
	{"a length in another header's fold", post + "A: b\r\n Content-Length: 49\r\n\r\nGET {}/next HTTP/1.1\r\nHost: x\r\n\r\n", "200 200 200"},
	{"a length behind a bare CR", post + "A: b\rContent-Length: 49\r\n\r\n" + smuggled, "400"},
	{"a length behind a bare LF", post + "A: b\nContent-Length: 4\r\n\r\nbody", "200 200"},
	{"a length behind a NUL", post + "A: b\x00Content-Length: 49\r\n\r\n" + smuggled, "400"},
	{"a length with an underscore in its name", post + "Content_Length: 50\r\n\r\nGET {}/next HTTP/1.1\r\nHost: x\r\n\r\n", "200 200 200"},
	{"a length that Connection names", post + "Connection: Content-Length\r\nContent-Length: 49\r\n\r\n" + smuggled, "200 200"},
	{"a length and a body of a GET", get + "Content-Length: 49\r\n\r\n" + smuggled, "200 200"},
	{"a length and a body of a HEAD", "HEAD {} HTTP/1.1\r\nHost: x\r\nContent-Length: 49\r\n\r\n" + smuggled, "200 200"},
	{"a length and a body of a DELETE", "DELETE {} HTTP/1.1\r\nHost: x\r\nContent-Length: 49\r\n\r\n" + smuggled, "200 200"},
	{"a length of an OPTIONS", "OPTIONS {} HTTP/1.1\r\nHost: x\r\nContent-Length: 49\r\n\r\n" + smuggled, "200 200"},
	{"a body longer than its length", post + "Content-Length: 4\r\n\r\nbodyGET {}/next HTTP/1.1\r\nHost: x\r\n\r\n", "200 200 200"},
	{"a body without a length", post + "\r\nbody", "200 200"},
}

// A coding that is not one, or one and a length.
var codingAttempts = []attempt{
	{"chunked", te + "\r\n" + chunked, "200 200"},
	{"CL.TE", post + "Content-Length: 49\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked, "200 200"},
	{"CL.TE, the length shorter", post + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked, "200 200"},
	{"TE.CL", te + "Content-Length: 4\r\n\r\n31\r\n" + smuggled + "\r\n0\r\n\r\n", "200 200"},
	{"TE.CL, the length 0", te + "Content-Length: 0\r\n\r\n31\r\n" + smuggled + "\r\n0\r\n\r\n", "200 200"},
	{"chunked, and a length that is none", te + "Content-Length: x\r\n\r\n" + chunked, "400"},
	{"chunked, and two lengths", te + "Content-Length: 1\r\nContent-Length: 2\r\n\r\n" + chunked, "400"},
	{"chunked twice", te + "Transfer-Encoding: chunked\r\n\r\n" + chunked, "501"},
	{"chunked, then identity", te + "Transfer-Encoding: identity\r\n\r\n" + chunked, "501"},
	{"identity, then chunked", post + "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked, "501"},
	{"chunked in a list, twice", post + "Transfer-Encoding: chunked, chunked\r\n\r\n" + chunked, "501"},
	{"identity in a list", post + "Transfer-Encoding: identity, chunked\r\n\r\n" + chunked, "501"},
	{"identity", post + "Transfer-Encoding: identity\r\nContent-Length: 4\r\n\r\nbody", "501"},
	{"gzip", post + "Transfer-Encoding: gzip\r\n\r\n" + chunked, "501"},
	{"gzip, chunked", post + "Transfer-Encoding: gzip, chunked\r\n\r\n" + chunked, "501"},
	{"xchunked", post + "Transfer-Encoding: xchunked\r\nContent-Length: 4\r\n\r\nbody", "501"},
	{"chunkedx", post + "Transfer-Encoding: chunkedx\r\nContent-Length: 4\r\n\r\nbody", "501"},
	{"chunked in quotes", post + "Transfer-Encoding: \"chunked\"\r\nContent-Length: 4\r\n\r\nbody", "501"},
	{"chunked with a parameter", post + "Transfer-Encoding: chunked;a=b\r\n\r\n" + chunked, "501"},
	{"chunked and a comma", post + "Transfer-Encoding: chunked,\r\n\r\n" + chunked, "501"},
	{"a comma and chunked", post + "Transfer-Encoding: ,chunked\r\n\r\n" + chunked, "501"},
	{"an empty coding", post + "Transfer-Encoding:\r\nContent-Length: 4\r\n\r\nbody", "501"},
	{"chunked in capitals", post + "TRANSFER-ENCODING: CHUNKED\r\n\r\n" + chunked, "200 200"},
	{"chunked with a letter that folds to k", post + "Transfer-Encoding: chun\xe2\x84\xaaed\r\nContent-Length: 4\r\n\r\nbody", "501"},
	{"chunked with spaces around", post + "Transfer-Encoding:   chunked  \r\n\r\n" + chunked, "200 200"},
	{"chunked with tabs around", post + "Transfer-Encoding:\tchunked\t\r\n\r\n" + chunked, "200 200"},
	{"chunked behind a vertical tab", post + "Transfer-Encoding: \x0bchunked\r\nContent-Length: 4\r\n\r\nbody", "400"},
	{"chunked and a NUL", post + "Transfer-Encoding: chunked\x00\r\nContent-Length: 4\r\n\r\nbody", "400"},
	{"a space before the colon", post + "Transfer-Encoding : chunked\r\nContent-Length: 4\r\n\r\nbody", "400"},
	{"a tab before the colon", post + "Transfer-Encoding\t: chunked\r\nContent-Length: 4\r\n\r\nbody", "400"},
	{"a space before the name", post + " Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\nbody", "400"},
	{"chunked, on the next line", post + "Transfer-Encoding:\r\n chunked\r\n\r\n" + chunked, "200 200"},
	{"chunked in another header's fold", post + "A: b\r\n Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\nbody", "200 200"},
	{"chunked behind a bare CR", post + "A: b\rTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\nbody", "400"},
	{"chunked behind a bare LF", post + "A: b\nTransfer-Encoding: chunked\r\n\r\n" + chunked, "200 200"},
	{"a name with an underscore", post + "Transfer_Encoding: chunked\r\nContent-Length: 4\r\n\r\nbody", "200 200"},
	{"a name with a NUL", post + "Transfer-Encoding\x00: chunked\r\nContent-Length: 4\r\n\r\nbody", "400"},
	{"a name beyond ASCII", post + "Transfer\xadEncoding: chunked\r\nContent-Length: 4\r\n\r\nbody", "400"},
	{"chunked that Connection names", te + "Connection: Transfer-Encoding\r\n\r\n" + chunked, "200 200"},
	{"chunked in HTTP/1.0", "POST {} HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked, "200"},
	{"chunked and a length in HTTP/1.0", "POST {} HTTP/1.0\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\nbody", "200"},
	{"a chunked GET", get + "Transfer-Encoding: chunked\r\n\r\n" + chunked, "200 200"},
	{"a chunked HEAD", "HEAD {} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked, "200 200"},
}

// Chunks that are none.
var chunkAttempts = []attempt{
	{"several chunks", te + "\r\n1\r\nb\r\n3\r\nody\r\n0\r\n\r\n", "200 200"},
	{"no chunk", te + "\r\n0\r\n\r\n", "200 200"},
	{"a request after the last chunk", te + "\r\n0\r\n\r\nGET {}/next HTTP/1.1\r\nHost: x\r\n\r\n", "200 200 200"},
	{"a size with zeros before it", te + "\r\n0004\r\nbody\r\n000\r\n\r\n", "200 200"},
	{"a size with very many zeros", te + "\r\n" + strings.Repeat("0", 30) + "4\r\nbody\r\n0\r\n\r\n", "400"},
	{"a size in capitals", te + "\r\nA\r\nbodybody10\r\n0\r\n\r\n", "200 200"},
	{"a size with 0x", te + "\r\n0x4\r\nbody\r\n0\r\n\r\n", "400"},
	{"a size with a plus", te + "\r\n+4\r\nbody\r\n0\r\n\r\n", "400"},
	{"a negative size", te + "\r\n-4\r\nbody\r\n0\r\n\r\n", "400"},
	{"a size that is none", te + "\r\nzz\r\nbody\r\n0\r\n\r\n", "400"},
	{"an empty size", te + "\r\n\r\nbody\r\n0\r\n\r\n", "400"},
	{"a size of 2^64", te + "\r\n10000000000000000\r\n" + smuggled, "400"},
	{"a size of 2^64+4", te + "\r\n10000000000000004\r\nbody\r\n0\r\n\r\n", "400"},
	{"a size of 2^63", te + "X-Timeout: 100ms\r\n\r\n8000000000000000\r\nbody\r\n0\r\n\r\n", "504"},
	{"a size of 2^32+4, cut off", te + "X-Timeout: 100ms\r\n\r\n100000004\r\nbody\r\n0\r\n\r\n", "504"},
	{"a size with a space before it", te + "\r\n 4\r\nbody\r\n0\r\n\r\n", "400"},
	{"a size with a space after it", te + "\r\n4 \r\nbody\r\n0\r\n\r\n", "200 200"},
	{"a size with a NUL", te + "\r\n4\x00\r\nbody\r\n0\r\n\r\n", "400"},
	{"an extension", te + "\r\n4;a=b\r\nbody\r\n0\r\n\r\n", "200 200"},
	{"an extension of the last chunk", te + "\r\n4\r\nbody\r\n0;a=\"b\"\r\n\r\n", "200 200"},
	{"an extension with a bare LF", te + "\r\n4;a\nb\r\nbody\r\n0\r\n\r\n", "400"},
	{"an extension with a bare CR", te + "\r\n4;a\rb\r\nbody\r\n0\r\n\r\n", "400"},
	{"an extension without end", te + "\r\n4;" + strings.Repeat("a", 20_000) + "\r\nbody\r\n0\r\n\r\n", "400"},
	{"a size line with a bare LF", te + "\r\n4\nbody\r\n0\r\n\r\n", "400"},
	{"a size line with a bare CR", te + "\r\n4\rbody\r\n0\r\n\r\n", "400"},
	{"a size line with two CRs", te + "\r\n4\r\r\nbody\r\n0\r\n\r\n", "400"},
	{"a chunk with a bare LF after it", te + "\r\n4\r\nbody\n0\r\n\r\n", "400"},
	{"a chunk with nothing after it", te + "\r\n4\r\nbody0\r\n\r\n", "400"},
	{"a chunk longer than its size", te + "\r\n3\r\nbody\r\n0\r\n\r\n", "400"},
	{"a last chunk with a bare LF", te + "\r\n4\r\nbody\r\n0\n\n", "400"},
	{"a last chunk of several zeros and a bare LF", te + "\r\n4\r\nbody\r\n00\n\r\n", "400"},
	{"a trailer", te + "Trailer: A\r\n\r\n4\r\nbody\r\n0\r\nA: b\r\n\r\n", "200 200"},
	{"a trailer that was not announced", te + "\r\n4\r\nbody\r\n0\r\nA: b\r\n\r\n", "200 200"},
	{"a length announced as a trailer", te + "Trailer: Content-Length\r\n\r\n4\r\nbody\r\n0\r\nContent-Length: 49\r\n\r\n", "400"},
	{"a coding announced as a trailer", te + "Trailer: Transfer-Encoding\r\n\r\n4\r\nbody\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n", "400"},
	{"a length as a trailer", te + "Trailer: A\r\n\r\n4\r\nbody\r\n0\r\nA: b\r\nContent-Length: 49\r\n\r\nGET {}/next HTTP/1.1\r\nHost: x\r\n\r\n", "200 200 200"},
	{"a host as a trailer", te + "Trailer: Host\r\n\r\n4\r\nbody\r\n0\r\nHost: y\r\n\r\n", "200 200"},
	{"a call id as a trailer", te + "Trailer: X-Call-Id\r\n\r\n4\r\nbody\r\n0\r\nX-Call-Id: forged\r\n\r\n", "200 200"},
	{"credentials as a trailer", te + "Trailer: Authorization\r\n\r\n4\r\nbody\r\n0\r\nAuthorization: x\r\n\r\n", "200 200"},
	{"a trailer with a space before the colon", te + "Trailer: A\r\n\r\n4\r\nbody\r\n0\r\nA : b\r\n\r\n", "200 200"},
	{"a trailer without a colon", te + "Trailer: A\r\n\r\n4\r\nbody\r\n0\r\nnonsense\r\n\r\n", "400"},
	{"chunks without end", te + "\r\n4\r\nbody\r\n", "400"},
}
