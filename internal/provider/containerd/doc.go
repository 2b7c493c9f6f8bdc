// Package containerd is a lofn.Provider that runs functions as containers of
// this machine, through containerd and runc. It needs Linux and root.
//
// A container has the files of its image, a file system of its own above them,
// a network of its own, no capabilities, containerd's default list of system
// calls, and the limits of its function. It finds its secrets in
// lofn.SecretsPath and the platform at gateway.openfaas, port 8080, and is
// called on port 8080.
//
// Containers outlive the platform: a Provider that is closed leaves them in
// service, and the next one with the same RunDir adopts them, whatever became of
// the first. All that it takes is in containerd's records and in RunDir. What
// belongs to no function is removed: see Settle.
//
// To start a container that has been made takes a fraction of the time of making
// it. So for the functions that were used last one waits, made and not started:
// see spares.
package containerd
