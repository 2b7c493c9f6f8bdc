// Package install makes lofn a service of a Linux machine with systemd, brings
// a newer program into such a service, and takes all of it away again.
//
// NewInstall and NewUninstall look at the machine and write nothing: they
// return everything that is wrong, or a Plan. A plan can be read, which is what
// --dry-run shows, and run; an installation that fails takes back what it did.
//
// There are four places: the program below a prefix, the unit, the settings and
// the data. Settings and data are the administrator's: they are made when they
// are missing, never changed, and removed only on request. The unit carries a
// checksum of itself, so that one that somebody edited is told from one that an
// earlier version wrote, and is kept.
package install
