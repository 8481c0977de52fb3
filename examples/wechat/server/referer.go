package main

import "regexp"

// miniProgram is a request's data about the mini program that sent it.
type miniProgram struct {
	id      string // its appid; "" if the request does not say
	version string // the release's number; "0" for a development, trial or review version, "devtools" in the tools
}

var refererForm = regexp.MustCompile(`^https://servicewechat\.com/([0-9A-Za-z]{1,32})/([0-9A-Za-z.]{1,32})/page-frame\.html$`)

// parseReferer reads the Referer that WeChat sets in every request of a mini program. The program cannot change it, but
// any other client can send it too. Use it for logs and statistics only.
func parseReferer(referer string) miniProgram {
	parts := refererForm.FindStringSubmatch(referer)
	if parts == nil {
		return miniProgram{}
	}
	return miniProgram{id: parts[1], version: parts[2]}
}
