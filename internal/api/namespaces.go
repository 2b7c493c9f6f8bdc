package api

import (
	"fmt"
	"net/http"
	"strings"

	"lofn"
)

// namespaceRef is the key of a namespace in its store.
func namespaceRef(name string) lofn.Ref { return lofn.Ref{Namespace: name, Name: name} }

func (a *API) listNamespaces(w http.ResponseWriter, r *http.Request) error {
	records, err := a.Namespaces.List(r.Context(), "")
	if err != nil {
		return err
	}
	names := make([]string, 0, len(records))
	for _, record := range records {
		names = append(names, record.Value.Name)
	}
	return answer(w, http.StatusOK, names)
}

func (a *API) getNamespace(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	record, err := a.Namespaces.Get(r.Context(), namespaceRef(name))
	if err != nil {
		return unknownNamespace(name, err)
	}
	return answer(w, http.StatusOK, record.Value)
}

func (a *API) createNamespace(w http.ResponseWriter, r *http.Request) error {
	ns, err := readNamespace(w, r)
	if err != nil {
		return err
	}
	_, err = a.Namespaces.Put(r.Context(), namespaceRef(ns.Name), ns, 0)
	if lofn.CodeOf(err) == lofn.Exists {
		return lofn.Errorf(lofn.Exists, "namespace %q exists", ns.Name)
	}
	if err != nil {
		return err
	}
	a.Log.Info("namespace created", "namespace", ns.Name)
	w.WriteHeader(http.StatusCreated)
	return nil
}

func (a *API) updateNamespace(w http.ResponseWriter, r *http.Request) error {
	ns, err := readNamespace(w, r)
	if err != nil {
		return err
	}
	_, err = modify(r.Context(), a.Namespaces, namespaceRef(ns.Name), func(lofn.Namespace) (lofn.Namespace, error) { return ns, nil })
	if err != nil {
		return unknownNamespace(ns.Name, err)
	}
	a.Log.Info("namespace updated", "namespace", ns.Name)
	return accepted(w)
}

// deleteNamespace refuses while something is in the namespace: nobody should
// lose functions and secrets to a slip.
func (a *API) deleteNamespace(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	if name == lofn.DefaultNamespace {
		return lofn.Errorf(lofn.Invalid, "namespace %q is the default one and cannot be removed", name)
	}
	a.membership.Lock()
	defer a.membership.Unlock()
	functions, err := a.Functions.List(r.Context(), name)
	if err != nil {
		return err
	}
	secrets, err := a.Secrets.List(r.Context(), name)
	if err != nil {
		return err
	}
	if len(functions)+len(secrets) > 0 {
		return lofn.Errorf(lofn.Conflict, "namespace %q is not empty: remove its %s first", name, contents(len(functions), len(secrets)))
	}
	if _, err := remove(r.Context(), a.Namespaces, namespaceRef(name)); err != nil {
		return unknownNamespace(name, err)
	}
	a.Log.Info("namespace removed", "namespace", name)
	return accepted(w)
}

// contents says what is in a namespace, which is something.
func contents(functions, secrets int) string {
	var parts []string
	for _, kind := range []struct {
		count int
		name  string
	}{{functions, "function"}, {secrets, "secret"}} {
		switch {
		case kind.count == 1:
			parts = append(parts, "1 "+kind.name)
		case kind.count > 1:
			parts = append(parts, fmt.Sprintf("%d %ss", kind.count, kind.name))
		}
	}
	return strings.Join(parts, " and ")
}

// readNamespace takes a namespace from the body, whose name must be the
// path's where both have one.
func readNamespace(w http.ResponseWriter, r *http.Request) (lofn.Namespace, error) {
	var ns lofn.Namespace
	if err := read(w, r, &ns); err != nil {
		return ns, err
	}
	inPath := r.PathValue("name")
	if ns.Name == "" {
		ns.Name = inPath
	}
	if inPath != "" && ns.Name != inPath {
		return ns, lofn.Errorf(lofn.Invalid, "name: is %q, but the path names %q", ns.Name, inPath)
	}
	if ns.Name == "kube-system" {
		return ns, lofn.Errorf(lofn.Invalid, "name: %q is reserved", ns.Name)
	}
	return ns, lofn.ValidateNamespace(ns.Name)
}

// unknownNamespace words a missing record as a missing namespace.
func unknownNamespace(name string, err error) error {
	if lofn.CodeOf(err) != lofn.NotFound {
		return err
	}
	return lofn.Errorf(lofn.NotFound, "namespace %q does not exist: create it with: lofn namespace create %s", name, name)
}

// invalidNamespace is unknownNamespace where the namespace is not what was
// asked for but a field of it: a 404 would tell faas-cli that the function is
// missing.
func invalidNamespace(name string, err error) error {
	if lofn.CodeOf(err) != lofn.NotFound {
		return err
	}
	return lofn.Errorf(lofn.Invalid, "%v", unknownNamespace(name, err))
}
