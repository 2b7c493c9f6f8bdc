package api

import (
	"net/http"

	"lofn"
)

// maxSecret is the most bytes that a secret may have: what Kubernetes allows,
// so that a secret that works here works there.
const maxSecret = 1 << 20

func (a *API) listSecrets(w http.ResponseWriter, r *http.Request) error {
	namespace := inNamespace(r, "")
	if _, err := a.Namespaces.Get(r.Context(), namespaceRef(namespace)); err != nil {
		return unknownNamespace(namespace, err)
	}
	records, err := a.Secrets.List(r.Context(), namespace)
	if err != nil {
		return err
	}
	// Names only: no road leads from the API to a value.
	list := make([]lofn.SecretRequest, 0, len(records))
	for _, record := range records {
		list = append(list, lofn.SecretRequest{Name: record.Ref.Name, Namespace: record.Ref.Namespace})
	}
	return answer(w, http.StatusOK, list)
}

func (a *API) createSecret(w http.ResponseWriter, r *http.Request) error {
	ref, secret, err := a.readSecret(w, r)
	if err != nil {
		return err
	}
	a.membership.RLock()
	defer a.membership.RUnlock()
	if _, err := a.Namespaces.Get(r.Context(), namespaceRef(ref.Namespace)); err != nil {
		return invalidNamespace(ref.Namespace, err)
	}
	_, err = a.Secrets.Put(r.Context(), ref, secret, 0)
	if lofn.CodeOf(err) == lofn.Exists {
		return lofn.Errorf(lofn.Exists, "secret %q exists in namespace %q: change it with: lofn secret update %s", ref.Name, ref.Namespace, ref.Name)
	}
	if err != nil {
		return err
	}
	a.Log.Info("secret created", "secret", ref.Name, "namespace", ref.Namespace)
	return accepted(w)
}

func (a *API) updateSecret(w http.ResponseWriter, r *http.Request) error {
	ref, secret, err := a.readSecret(w, r)
	if err != nil {
		return err
	}
	_, err = modify(r.Context(), a.Secrets, ref, func(lofn.Secret) (lofn.Secret, error) { return secret, nil })
	if err != nil {
		return unknownSecret(ref, err)
	}
	a.Log.Info("secret updated", "secret", ref.Name, "namespace", ref.Namespace)
	return accepted(w)
}

func (a *API) deleteSecret(w http.ResponseWriter, r *http.Request) error {
	var s lofn.SecretRequest
	if err := read(w, r, &s); err != nil {
		return err
	}
	ref := lofn.Ref{Namespace: inNamespace(r, s.Namespace), Name: s.Name}
	if _, err := remove(r.Context(), a.Secrets, ref); err != nil {
		return unknownSecret(ref, err)
	}
	a.Log.Info("secret removed", "secret", ref.Name, "namespace", ref.Namespace)
	return accepted(w)
}

func (a *API) readSecret(w http.ResponseWriter, r *http.Request) (lofn.Ref, lofn.Secret, error) {
	var s lofn.SecretRequest
	if err := read(w, r, &s); err != nil {
		return lofn.Ref{}, lofn.Secret{}, err
	}
	ref := lofn.Ref{Namespace: inNamespace(r, s.Namespace), Name: s.Name}
	value := []byte(s.Value)
	if len(s.RawValue) > 0 {
		value = s.RawValue
	}
	if len(value) > maxSecret {
		return ref, lofn.Secret{}, lofn.Errorf(lofn.Invalid, "value: has %d bytes, at most %d are allowed", len(value), maxSecret)
	}
	return ref, lofn.Secret{Value: value, UpdatedAt: a.Now().UTC()}, lofn.ValidateSecretName(s.Name)
}

func unknownSecret(ref lofn.Ref, err error) error {
	if lofn.CodeOf(err) != lofn.NotFound {
		return err
	}
	return lofn.Errorf(lofn.NotFound, "secret %q does not exist in namespace %q", ref.Name, ref.Namespace)
}
