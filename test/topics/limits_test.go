package topics_test

// The limits of topics: their defaults, and the behaviour without them.

import (
	"bytes"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/hail"
	"example.com/hail/hailtest"
	"example.com/hail/test/internal/kit"
)

// memberOf connects a peer, and returns the server's end too.
func memberOf(t *testing.T, s *hail.Server, opts ...hailtest.Option) (*hailtest.Peer, *hail.Conn) {
	t.Helper()
	conns := make(chan *hail.Conn, 1)
	s.OnConnect = func(c *hail.Conn, _ *http.Request) error { conns <- c; return nil }
	p := hailtest.Dial(t, s, "/", opts...)
	return p, <-conns
}

// subscribeUntil subscribes to topics until Subscribe fails, to most at the most, and returns their number.
func subscribeUntil(c *hail.Conn, most int) (n int, err error) {
	for ; n < most; n++ {
		if err = c.Subscribe(fmt.Sprint(n)); err != nil {
			return n, err
		}
	}
	return n, nil
}

func TestMaxTopicsByDefaultAndOff(t *testing.T) {
	t.Parallel()
	_, c := memberOf(t, &hail.Server{})
	n, err := subscribeUntil(c, 1000)
	if n != 128 || err == nil || !strings.Contains(err.Error(), "Options.MaxTopics") {
		t.Errorf("by default: on %d topics, then error %v; want 128, and Options.MaxTopics named", n, err)
	}
	_, c = memberOf(t, &hail.Server{Options: hail.Options{MaxTopics: -1}})
	if n, err := subscribeUntil(c, 1000); err != nil || len(c.Topics()) != 1000 {
		t.Errorf("without a limit: on %d topics, then error %v; want 1000", n, err)
	}
}

func TestTopicNames(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		part string // of the error; "": none
	}{
		{"", ""}, {strings.Repeat("n", 256), ""}, {strings.Repeat("ä", 128), ""},
		{strings.Repeat("n", 257), "257 bytes is longer than 256"}, {"\xff", "UTF-8"},
	} {
		s := new(hail.Server)
		_, c := memberOf(t, s)
		for what, err := range map[string]error{"Subscribe": c.Subscribe(tc.name), "Publish": s.Publish(tc.name, hail.Text(""))} {
			if (err == nil) != (tc.part == "") || err != nil && !strings.Contains(err.Error(), tc.part) {
				t.Errorf("%s with %.10q of %d bytes: got error %v, want %q", what, tc.name, len(tc.name), err, tc.part)
			}
		}
	}
}

// TestTopicLimitsByDefaultAndOff has a peer that does not read, and publishes so many messages of one size.
func TestTopicLimitsByDefaultAndOff(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		options     hail.Options
		size, count int
		names       string // the option that ends it; "": nothing does
	}{
		"messages, within the default": {hail.Options{}, 10, 4000, ""},
		"messages, past the default":   {hail.Options{}, 10, 4200, "Options.TopicMessages"},
		"messages, off":                {hail.Options{TopicMessages: -1}, 10, 20_000, ""},
		"bytes, within the default":    {hail.Options{}, 1 << 10, 1000, ""},
		"bytes, past the default":      {hail.Options{}, 1 << 10, 1100, "Options.TopicBytes"},
		"bytes, off":                   {hail.Options{TopicBytes: -1}, 1 << 10, 4000, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := &hail.Server{Options: tc.options}
				closed := kit.NewCloses()
				s.OnClose = closed.Note
				p, c := memberOf(t, s, hailtest.BufferSize(1<<10))
				p.Stall()
				if err := c.Subscribe("room"); err != nil {
					t.Fatal(err)
				}
				for i := range tc.count {
					m := append(fmt.Appendf(nil, "%06d", i), make([]byte, tc.size-6)...)
					if err := s.Publish("room", hail.Binary(m)); err != nil {
						t.Fatal(err)
					}
				}
				synctest.Wait()
				p.Resume()
				if tc.names != "" {
					p.WaitClose()
					if info := closed.Next(t); info.Cause != hail.CauseSlowConsumer || !strings.Contains(info.Err.Error(), tc.names) {
						t.Errorf("closed: %+v, want a slow consumer, and %s named", info, tc.names)
					}
					return
				}
				for i := range tc.count {
					if got := p.Receive().String()[:6]; got != fmt.Sprintf("%06d", i) {
						t.Fatalf("message %d: got %q", i, got)
					}
				}
			})
		})
	}
}

// TestTopicBytesHoldWhoeverComesAndGoes has a subscriber that negotiated compression join and leave between messages, so that each
// message is kept in another form than the one before. It is not parallel: it measures memory.
func TestTopicBytesHoldWhoeverComesAndGoes(t *testing.T) {
	const topicBytes, most = 1 << 20, 4 << 20
	h, e := kit.Observed(hail.Handler{})
	s := &hail.Server{Handler: h, Options: hail.Options{Compression: true, MaxTopics: -1}}
	slow := hailtest.Dial(t, s, "/")
	slowly := kit.Await(t, "OnConnect", e.Conns, kit.Ample)
	guest := hailtest.Dial(t, s, "/", hailtest.Compression())
	c := kit.Await(t, "OnConnect", e.Conns, kit.Ample)
	slow.Stall()
	if err := slowly.Subscribe("room"); err != nil {
		t.Fatal(err)
	}
	large, small := hail.Text(strings.Repeat("x", 1<<10)), hail.Text("s")
	before := kit.Heap()
	for sum := 0; sum < topicBytes-5000; sum += 1100 {
		if err := c.Subscribe("room"); err != nil {
			t.Fatal(err)
		}
		s.Publish("room", large)
		guest.Receive() // or it would inflate while the heap is measured
		if err := c.Unsubscribe("room"); err != nil {
			t.Fatal(err)
		}
		s.Publish("room", small)
	}
	if after := kit.Heap(); after > before+most {
		t.Errorf("heap: got %d bytes after %d, want at most %d more", after, before, most)
	}
	if slowly.Context().Err() != nil {
		t.Error("the peer that keeps the messages there was closed")
	}
}

// TestHistoryForEver has the largest age there is.
func TestHistoryForEver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h, e := kit.Observed(hail.Handler{})
		s := &hail.Server{Handler: h, Options: hail.Options{History: hail.History{Messages: 2, Age: math.MaxInt64}}}
		for i := range 3 {
			if err := s.Publish("room", hail.Text(fmt.Sprint(i))); err != nil {
				t.Fatal(err)
			}
			time.Sleep(1000 * time.Hour)
		}
		p := hailtest.Dial(t, s, "/")
		c := <-e.Conns
		if _, err := c.SubscribeSince("room", 0); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"1", "2"} {
			if got := p.Receive().String(); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		}
	})
}

// TestHistoryAge publishes a message a minute, and asks for all when the first are too old.
func TestHistoryAge(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		age   time.Duration
		wants []string
	}{
		"10 minutes":        {10 * time.Minute, []string{"0", "1", "2", "3", "4", "5", "6", "7"}},
		"2 minutes":         {2 * time.Minute, []string{"6", "7"}},
		"the default, 5 m.": {0, []string{"3", "4", "5", "6", "7"}},
		"none":              {-1, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := &hail.Server{Options: hail.Options{History: hail.History{Messages: 100, Age: tc.age}}}
				p, c := memberOf(t, s, hailtest.Timeout(time.Hour))
				for i := range 8 {
					time.Sleep(time.Minute)
					if err := s.Publish("room", hail.Text(fmt.Sprint(i))); err != nil {
						t.Fatal(err)
					}
				}
				time.Sleep(30 * time.Second)
				if complete, err := c.SubscribeSince("room", 0); complete || err != nil {
					t.Errorf("SubscribeSince: got %v, %v", complete, err)
				}
				synctest.Wait()
				var got []string
				for p.Pending() > 0 {
					got = append(got, p.Receive().String())
				}
				if !slices.Equal(got, tc.wants) {
					t.Errorf("got %q, want %q", got, tc.wants)
				}
				if err := c.Unsubscribe("room"); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Hour)
				for topic := range s.Topics() {
					t.Errorf("topic %q is left when all is too old", topic)
				}
			})
		})
	}
}

// TestPublishCompresses compares the frames of one publish to subscribers with compression and without.
func TestPublishCompresses(t *testing.T) {
	t.Parallel()
	long := bytes.Repeat([]byte("as long as it is worth it "), 100)
	kit.OverTransports(t, func(t *testing.T, opts ...hailtest.Option) {
		for _, on := range []bool{true, false} {
			s := room(hail.Options{Compression: on})
			offers := hailtest.Dial(t, s, "/?on=room", append(opts, hailtest.Compression(), hailtest.Raw())...)
			plain := hailtest.Dial(t, s, "/?on=room", hailtest.Raw())
			for _, p := range []*hailtest.Peer{offers, plain} {
				if f := p.ReadFrame(); string(f.Payload) != "hello" {
					t.Fatalf("got %+v, want hello", f)
				}
			}
			for _, data := range [][]byte{long, []byte("short")} {
				if err := s.Publish("room", hail.Message{Type: hail.MessageText, Data: data}); err != nil {
					t.Fatal(err)
				}
				if f := plain.ReadFrame(); f.RSV1 || !bytes.Equal(f.Payload, data) {
					t.Errorf("Compression %v, who did not offer it: got %d bytes, RSV1 %v; want the %d as they are", on, len(f.Payload), f.RSV1, len(data))
				}
				deflated := on && len(data) > 1024
				if f := offers.ReadFrame(); f.RSV1 != deflated || deflated && len(f.Payload) > len(data)/10 || !deflated && !bytes.Equal(f.Payload, data) {
					t.Errorf("Compression %v, who offers it: got %d bytes of %d, RSV1 %v; want it compressed: %v", on, len(f.Payload), len(data), f.RSV1, deflated)
				}
			}
		}
	})
}
