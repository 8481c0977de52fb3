package hailtest

// permessage-deflate as a client speaks it (RFC 7692).

import (
	"bytes"
	"compress/flate"
	"fmt"
	"io"
	"slices"
	"strings"
)

// windowSize is how far back a compressed message may refer (RFC 7692, section 7.1.2).
const windowSize = 32 << 10

// flushTail ends a message and is not sent (RFC 7692, section 7.2.1).
const flushTail = "\x00\x00\xff\xff"

// deflate compresses and inflates messages. The sender calls compress, the reader inflate: they share no
// state that changes.
type deflate struct {
	sends    bool   // false: the server asked for a window that compress/flate cannot keep to
	takeover bool   // the server's messages refer to earlier ones
	window   []byte // the last bytes that were inflated; only with takeover
}

// newDeflate reads the server's answer to an offer; nil means no compression.
func newDeflate(offered, accepted string) (*deflate, error) {
	if accepted == "" {
		return nil, nil
	}
	name, params, _ := strings.Cut(accepted, ";")
	if strings.TrimSpace(name) != "permessage-deflate" || !strings.Contains(offered, "permessage-deflate") {
		return nil, violation(fmt.Sprintf("it accepted the extension %q, offered was %q", accepted, offered))
	}
	d := &deflate{sends: true, takeover: true}
	for param := range strings.SplitSeq(params, ";") {
		key, value, _ := strings.Cut(strings.TrimSpace(param), "=")
		switch key {
		case "", "client_no_context_takeover", "server_max_window_bits":
		case "server_no_context_takeover":
			d.takeover = false
		case "client_max_window_bits":
			d.sends = strings.Trim(value, `"`) == "15"
		default:
			return nil, violation(fmt.Sprintf("it accepted permessage-deflate with %q", param))
		}
	}
	return d, nil
}

// compress returns the payload of a compressed message. It never refers to earlier messages, so every
// server has to accept it.
func (d *deflate) compress(data []byte) []byte {
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.DefaultCompression)
	if err != nil {
		panic("hailtest: " + err.Error())
	}
	w.Write(data)
	w.Flush()
	return bytes.TrimSuffix(b.Bytes(), []byte(flushTail))
}

func (d *deflate) inflate(payload []byte) ([]byte, error) {
	// The last block is final, so that the reader ends with io.EOF.
	const finalBlock = "\x01\x00\x00\xff\xff"
	whole := io.MultiReader(bytes.NewReader(payload), strings.NewReader(flushTail+finalBlock))
	data, err := io.ReadAll(flate.NewReaderDict(whole, d.window))
	if err != nil {
		return nil, violation("a compressed message that does not inflate: " + err.Error())
	}
	if d.takeover {
		d.window = append(d.window, data...)
		d.window = slices.Clone(d.window[max(0, len(d.window)-windowSize):])
	}
	return data, nil
}
