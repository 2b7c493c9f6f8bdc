package jetstream

import (
	"os"

	"lofn"
)

// A stream of another part, whose messages are numbered without gaps, has two
// witnesses: of how far it has come, and of what was trimmed at its beginning.
// Neither is kept while the folder is handed over.

// Vacant is for streams that the server does not know: it leaves out those that
// it could not load, and would write over them. It clears what a process left
// that ended while it made the stream, and has an error if there was more.
func (e *Engine) Vacant(stream string) error {
	dir := e.Place(stream)
	end, _, err := e.ends(stream)
	if err != nil {
		return err
	}
	if !hollow(dir) || !end.saw(0) {
		return lofn.Errorf(lofn.Internal, "what was in %s is damaged and cannot be read: restore %s from a backup; or, to start without it, move that folder away and remove %s", dir, e.dir, end.path)
	}
	return os.RemoveAll(dir)
}

// Intact has an error if messages of a stream are lost at its beginning or its
// end. Look tells the numbers of the first and the last one that it has.
func (e *Engine) Intact(stream string, look func() (first, last uint64, err error)) error {
	end, begin, err := e.ends(stream)
	if err != nil {
		return err
	}
	// Others may append and trim meanwhile.
	before := end.known()
	first, last, err := look()
	if err != nil {
		return err
	}
	lost := func(what string, w *witness) error {
		return lofn.Errorf(lofn.Internal, "the %s of what was in %s is lost: restore %s from a backup; or, to go on with what is left, remove %s", what, e.Place(stream), e.dir, w.path)
	}
	if !begin.allows(total(max(1, first))) {
		return lost("beginning", begin)
	}
	if total(last) < before {
		return lost("end", end)
	}
	end.saw(total(last))
	return nil
}

// Appended records that a stream has come to a number.
func (e *Engine) Appended(stream string, last uint64) {
	if !e.broker.owns() {
		return
	}
	if end, _, err := e.ends(stream); err == nil {
		end.saw(total(last))
	}
}

// Trimming records that the messages of a stream before a number are about to
// be removed. It reports false if that is for the process to do that has the
// folder.
func (e *Engine) Trimming(stream string, before uint64) bool {
	if !e.broker.owns() {
		return false
	}
	if _, begin, err := e.ends(stream); err == nil {
		begin.saw(total(before))
	}
	return true
}

func (e *Engine) ends(stream string) (end, begin *witness, err error) {
	if end, err = e.witness(stream); err == nil {
		begin, err = e.witness(stream + ".begin")
	}
	return end, begin, err
}
