// Package process is a lofn.Provider that runs functions as processes of this
// machine, with the machine's own interpreters and libraries. It needs Linux.
//
// A function sees the machine's file system with these differences: its
// image's files are at /home/app, read-only; /tmp, /var/tmp and /dev/shm are
// its own, in memory and bounded; its secrets are at /var/openfaas/secrets;
// the platform's folders are empty. Each replica has a mount namespace for
// that. Each of its processes is the first of a PID namespace: when it ends,
// or the platform does in whatever way, the kernel ends all that it started.
//
// No helper program makes this so. A Linux mount namespace belongs to a
// thread, so a few threads of the platform, which do nothing else, enter a
// replica's namespace and start its processes from there.
//
// Interpreters of the kinds that functions use start before they are needed, and
// wait in a namespace of their own: see standby.
//
// Who functions run as depends on who the platform is:
//
//   - root: each function has a user of its own, from a range that nobody
//     uses, and so cannot touch the processes and files of another;
//   - an ordinary user, after Isolate: that user, in a user namespace of its
//     own, which keeps functions from each other and from the platform;
//   - otherwise, as where user namespaces are not permitted: that user with no
//     isolation at all, and without secrets.
package process
