package wire

// The handshake's proof that the server has understood it (RFC 6455 section 4.2.2).

import (
	"crypto/sha1"
	"encoding/base64"
)

// acceptGUID is RFC 6455 section 1.3's.
const acceptGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

// AppendAccept appends the Sec-WebSocket-Accept of a Sec-WebSocket-Key.
func AppendAccept(dst []byte, key string) []byte {
	var b [64]byte
	sum := sha1.Sum(append(append(b[:0], key...), acceptGUID...))
	return base64.StdEncoding.AppendEncode(dst, sum[:])
}
