package jetstream

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/json"
	"errors"
)

// Codec turns values into the bytes of a record and back. The key is the name
// that the record has in the engine. Codecs are safe for concurrent use.
type Codec[T any] interface {
	Encode(key string, value T) ([]byte, error)
	Decode(key string, data []byte) (T, error)
}

// JSON returns a codec that writes values as JSON.
func JSON[T any]() Codec[T] { return jsonCodec[T]{} }

type jsonCodec[T any] struct{}

func (jsonCodec[T]) Encode(_ string, value T) ([]byte, error) { return json.Marshal(value) }

func (jsonCodec[T]) Decode(_ string, data []byte) (T, error) {
	var value T
	err := json.Unmarshal(data, &value)
	return value, err
}

// Sealed returns a codec that writes values as JSON encrypted with AES-256-GCM
// under a random nonce. A record's key is bound to it, so that a value moved
// to another key does not open.
func Sealed[T any](key Key) Codec[T] {
	block, err := aes.NewCipher(key[:])
	if err == nil {
		var aead cipher.AEAD
		if aead, err = cipher.NewGCMWithRandomNonce(block); err == nil {
			return sealedCodec[T]{aead: aead}
		}
	}
	// A Key has a length that AES takes, and AES the block size that GCM takes.
	panic(err)
}

type sealedCodec[T any] struct{ aead cipher.AEAD }

// sealedVersion begins every sealed record, so that another format can follow.
const sealedVersion = 1

var errNotOpened = errors.New("it does not open: it was encrypted with another key, or altered")

func (c sealedCodec[T]) Encode(key string, value T) ([]byte, error) {
	plain, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	return c.aead.Seal([]byte{sealedVersion}, nil, plain, []byte(key)), nil
}

func (c sealedCodec[T]) Decode(key string, data []byte) (T, error) {
	var value T
	if len(data) == 0 || data[0] != sealedVersion {
		return value, errors.New("it is not an encrypted record")
	}
	plain, err := c.aead.Open(nil, nil, data[1:], []byte(key))
	if err != nil {
		return value, errNotOpened
	}
	err = json.Unmarshal(plain, &value)
	return value, err
}
