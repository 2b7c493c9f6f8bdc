package lofn

import (
	"strings"
	"time"
)

// Headers of the OpenFaaS wire contract.
const (
	HeaderCallID          = "X-Call-Id"
	HeaderStartTime       = "X-Start-Time" // Unix nanoseconds
	HeaderDurationSeconds = "X-Duration-Seconds"
	HeaderTimeout         = "X-Timeout" // Go duration
	HeaderServedBy        = "X-Served-By"
	HeaderForwardedFor    = "X-Forwarded-For"
	HeaderForwardedHost   = "X-Forwarded-Host"
	// HeaderCallback names, in the request of an asynchronous call, the URL that
	// gets the outcome.
	HeaderCallback = "X-Callback-Url"
	// HeaderIdempotencyKey makes a repeated submit the same call.
	HeaderIdempotencyKey = "Idempotency-Key"
	// HeaderFunctionName and HeaderFunctionStatus tell a callback whose answer it
	// gets.
	HeaderFunctionName   = "X-Function-Name"
	HeaderFunctionStatus = "X-Function-Status"
	// HeaderRetry is how many attempts were made, the one under way included, and
	// HeaderRetryMax how many there are at most. Functions and callbacks get them.
	HeaderRetry    = "X-Retry"
	HeaderRetryMax = "X-Retry-Max"
	// HeaderInternal marks an answer that a component of the platform made,
	// not the function; its value names the component.
	HeaderInternal = "X-OpenFaaS-Internal"
)

// StatusUpgradeFailed begins what the platform tells its service manager after an
// upgrade that failed; when it did, and why, follow.
const StatusUpgradeFailed = "the upgrade failed"

// Environment variables by which a function learns about itself and where to
// listen. It may use either the socket or the port.
const (
	EnvName      = "OPENFAAS_NAME"
	EnvNamespace = "OPENFAAS_NAMESPACE"
	// EnvSocket is the path of the Unix socket that a function may listen on.
	EnvSocket = "LOFN_SOCKET"
	// EnvPort is the TCP port of 127.0.0.1 that a function may listen on;
	// EnvHTTPPort repeats it under the name that OpenFaaS' Node templates read.
	EnvPort     = "PORT"
	EnvHTTPPort = "http_port"
	// EnvProcess is the command line to run, in an image's or function's
	// environment.
	EnvProcess = "fprocess"
)

// IsGRPC reports whether a message of the type is one of gRPC, which exists over
// HTTP/2 only. Those of gRPC-Web, made for HTTP/1.1, are not.
func IsGRPC(contentType string) bool {
	rest, ok := strings.CutPrefix(strings.ToLower(contentType), "application/grpc")
	return ok && (rest == "" || rest[0] == '+' || rest[0] == ';')
}

// SecretsPath is the folder in which a function finds its secrets, a file each.
const SecretsPath = "/var/openfaas/secrets"

// Deployment is the body of POST and PUT /system/functions.
type Deployment struct {
	Service                string            `json:"service"`
	Image                  string            `json:"image"`
	Namespace              string            `json:"namespace,omitempty"`
	EnvProcess             string            `json:"envProcess,omitempty"`
	EnvVars                map[string]string `json:"envVars,omitempty"`
	Constraints            []string          `json:"constraints,omitempty"`
	Secrets                []string          `json:"secrets,omitempty"`
	Labels                 map[string]string `json:"labels,omitempty"`
	Annotations            map[string]string `json:"annotations,omitempty"`
	Limits                 *Resources        `json:"limits,omitempty"`
	Requests               *Resources        `json:"requests,omitempty"`
	ReadOnlyRootFilesystem bool              `json:"readOnlyRootFilesystem,omitempty"`
}

// FunctionStatus answers GET /system/function/{name}, and is an element of the
// answer to GET /system/functions.
type FunctionStatus struct {
	Name                   string            `json:"name"`
	Namespace              string            `json:"namespace,omitempty"`
	Image                  string            `json:"image"`
	EnvProcess             string            `json:"envProcess,omitempty"`
	EnvVars                map[string]string `json:"envVars,omitempty"`
	Constraints            []string          `json:"constraints,omitempty"`
	Secrets                []string          `json:"secrets,omitempty"`
	Labels                 map[string]string `json:"labels"`
	Annotations            map[string]string `json:"annotations"`
	Limits                 *Resources        `json:"limits,omitempty"`
	Requests               *Resources        `json:"requests,omitempty"`
	ReadOnlyRootFilesystem bool              `json:"readOnlyRootFilesystem,omitempty"`
	InvocationCount        float64           `json:"invocationCount,omitempty"`
	Replicas               uint64            `json:"replicas"`
	AvailableReplicas      uint64            `json:"availableReplicas"`
	CreatedAt              time.Time         `json:"createdAt"`
	Usage                  *FunctionUsage    `json:"usage,omitempty"`
	// Digest, Defaults, Runtime, Generation and Instances are lofn's own and unknown to
	// other clients. By the generation a client tells the instances of what it
	// has just deployed from those of what was there before. Defaults and Runtime
	// are those of Function.
	Digest     string            `json:"digest,omitempty"`
	Defaults   map[string]string `json:"defaults,omitempty"`
	Runtime    string            `json:"runtime,omitempty"`
	Generation int64             `json:"generation,omitempty"`
	Instances  []Replica         `json:"instances,omitempty"`
	// Scaling is lofn's own too, and nil in lists.
	Scaling *ScalingStatus `json:"scaling,omitempty"`
}

// FunctionUsage is in thousandths of a core and in bytes.
type FunctionUsage struct {
	CPU              float64 `json:"cpu"`
	TotalMemoryBytes float64 `json:"totalMemoryBytes"`
}

// DeleteRequest is the body of DELETE /system/functions.
type DeleteRequest struct {
	FunctionName string `json:"functionName"`
	Namespace    string `json:"namespace,omitempty"`
}

// ScaleRequest is the body of POST /system/scale-function/{name}.
type ScaleRequest struct {
	ServiceName string  `json:"serviceName"`
	Replicas    *uint64 `json:"replicas"`
	Namespace   string  `json:"namespace,omitempty"`
}

// SecretRequest is the body of the requests that change a secret. RawValue
// wins over Value.
type SecretRequest struct {
	Name      string `json:"name"`
	Namespace string `json:"namespace,omitempty"`
	Value     string `json:"value,omitempty"`
	RawValue  []byte `json:"rawValue,omitempty"`
}

// LogMessage is a line of the answer to GET /system/logs.
type LogMessage struct {
	Name      string    `json:"name"`
	Namespace string    `json:"namespace"`
	Instance  string    `json:"instance"`
	Timestamp time.Time `json:"timestamp"`
	Text      string    `json:"text"`
}

// Info answers GET /system/info.
type Info struct {
	Provider ProviderInfo `json:"provider"`
	Version  VersionInfo  `json:"version"`
	Arch     string       `json:"arch"`
}

// ProviderInfo names the provider in use.
type ProviderInfo struct {
	Name          string      `json:"provider"`
	Orchestration string      `json:"orchestration"`
	Version       VersionInfo `json:"version"`
}

// VersionInfo is never empty in any part: some clients require it so.
type VersionInfo struct {
	CommitMessage string `json:"commit_message,omitempty"`
	Release       string `json:"release"`
	SHA           string `json:"sha"`
}
