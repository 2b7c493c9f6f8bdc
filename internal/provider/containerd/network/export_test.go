package network

// What tests make networks of their own with.
var (
	MakeNamespace   = makeNamespace
	RemoveNamespace = removeNamespace
	Concurrency     = concurrency
)
