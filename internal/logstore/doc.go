// Package logstore keeps what replicas write, line by line, and answers
// lofn.LogQuery.
//
// Each function has a folder, DIR/NAMESPACE/NAME, with segments: files of
// records that are only ever appended to. When a function has more than its
// share of the disk the oldest segment goes, whole. A record is a line of up to
// 64 KiB with its time, its number and the replica that wrote it; the text of a
// longer line is a file of its own beside the segment and goes with it. So
// lines have no length limit, nobody holds a long one in memory but who reads
// it, and lines of different writers never mix.
//
// Readers read the files and remember a place in them. Writers know nothing of
// readers but that somebody wants to be woken: a reader that is slow delays
// nobody, and one that falls behind by more than what is kept is told how many
// lines it missed. Readers go as far in a file as the writer has said that its
// records are whole, and open it only as one of a log that is still there: when
// a function is removed and made again, the same path is another file. So what
// they find damaged was so before, for good; what a killed process did not come
// to write whole is cut off, without a word, when its log is next used.
//
// Nothing is synced to disk: lines survive the end of this process at any
// moment, and mostly that of the machine. An idle function costs a few hundred
// bytes of memory, and neither a file descriptor nor a goroutine.
//
// Where lines cannot be kept (the disk is full, a line is longer than all that
// is kept) a line that begins with "lofn: " says so in their place.
package logstore
