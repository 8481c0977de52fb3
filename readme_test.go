package hail_test

import (
	"os"
	"strings"
	"testing"
)

// The room in the README is the one of Example_rooms, so it compiles and does what is said.
func TestReadmeHasTheRoomOfTheExample(t *testing.T) {
	t.Parallel()
	_, section, _ := strings.Cut(read(t, "README.md"), "\n## Rooms\n")
	_, section, _ = strings.Cut(section, "```go\n")
	room, _, found := strings.Cut(section, "```")
	if !found || !strings.Contains(room, "hail.Server") {
		t.Fatalf("got %q, want a server as the first code under Rooms", room)
	}
	example := strings.ReplaceAll(read(t, "example_topic_test.go"), "\n\t", "\n")
	if !strings.Contains(example, "\n"+room) {
		t.Errorf("example_topic_test.go does not have\n%s", room)
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
