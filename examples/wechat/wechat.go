// Package wechat has the file of this mini program that Go programs serve to browsers.
package wechat

import _ "embed"

// Socket is utils/socket.js, the client. A page loads it as a classic script, which defines Client and webSocketDialer.
//
//go:embed utils/socket.js
var Socket string
