package main

import "regexp"

// miniProgram is what a request says of the mini program that sent it.
type miniProgram struct {
	id      string // its appid; "" where the request says nothing
	version string // the release's number; "0" for a development, trial or review version, "devtools" in the tools
}

var refererForm = regexp.MustCompile(`^https://servicewechat\.com/([0-9A-Za-z]{1,32})/([0-9A-Za-z.]{1,32})/page-frame\.html$`)

// parseReferer reads the Referer that WeChat gives every request of a mini program, which the program cannot
// change. Anything else that sends requests can: it is a hint, for logs and statistics, and proves nothing.
func parseReferer(referer string) miniProgram {
	parts := refererForm.FindStringSubmatch(referer)
	if parts == nil {
		return miniProgram{}
	}
	return miniProgram{id: parts[1], version: parts[2]}
}
