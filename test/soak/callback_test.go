package soak_test

// The server's callbacks: they obey the client's commands.

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"time"
	"weak"

	"example.com/hail"
)

func (rd *round) onConnect(c *hail.Conn, r *http.Request) (err error) {
	f := rd.fate(strings.TrimPrefix(r.URL.Path, "/"))
	defer f.enter("OnConnect")()
	defer func() { f.returned(err) }()
	c.SetState(f)
	f.mu.Lock()
	f.known, f.conn = true, weak.Make(c)
	f.mu.Unlock()
	rd.connected(f)
	if err := f.send(c.Send, "hello-"+f.name, 0); err != nil {
		return err
	}
	if !rd.pure && f.draw(4) == 0 {
		if err := rd.subscribe(c, f, rd.topics["a"], f.draw(2) == 0); ignore(err) != nil {
			return err
		}
	}
	switch f.draw(40) {
	case 0:
		return errors.New("not you")
	case 1:
		rd.panics.Add(1)
		panic("OnConnect")
	case 2:
		return hail.CloseError{Code: 4001, Reason: "go"}
	case 3:
		time.Sleep(time.Duration(f.draw(20)) * time.Millisecond)
	}
	return nil
}

func (rd *round) onClose(c *hail.Conn, info hail.CloseInfo) {
	f := c.State().(*fate)
	defer f.enter("OnClose")()
	late := c.Send(hail.Text("late"))
	f.mu.Lock()
	f.ends++
	f.ended = time.Now()
	f.info = info
	for _, fo := range f.topics {
		if s := fo.current(); s != nil {
			s.end.to = int(fo.topic.begun.Load())
		}
	}
	if !errors.Is(late, hail.ErrConnClosed) {
		f.complain("Send in OnClose: got %v, want ErrConnClosed", late)
	}
	if cause := context.Cause(c.Context()); !errors.Is(cause, hail.ErrConnClosed) {
		f.complain("the context's cause in OnClose: got %v, want ErrConnClosed", cause)
	}
	f.mu.Unlock()
	if f.draw(20) == 0 {
		rd.panics.Add(1)
		panic("OnClose")
	}
}

func (rd *round) onError(c *hail.Conn, err error) {
	if f, ok := c.State().(*fate); ok {
		defer f.enter("OnError")()
		ignore(f.send(c.TrySend, "sorry-"+f.name, 10))
	}
	if rd.draw(10) == 0 {
		rd.panics.Add(1)
		panic("OnError")
	}
}

func (rd *round) onMessage(c *hail.Conn, m hail.Message) (err error) {
	f, ok := c.State().(*fate)
	if !ok {
		rd.mu.Lock()
		rd.stray = append(rd.stray, fmt.Sprintf("OnMessage was called with %.50q before OnConnect, connection %d, %v", m.Data, c.ID(), context.Cause(c.Context())))
		rd.mu.Unlock()
		return nil
	}
	defer f.enter("OnMessage")()
	defer func() { f.returned(err) }()
	rd.opened(f)
	command := f.called(m)
	switch command {
	case "error":
		return errors.New("an error")
	case "wrapped":
		return fmt.Errorf("wrapped: %w", &hail.CloseError{Code: 4002, Reason: "wrapped"})
	case "code":
		return hail.CloseError{Code: 4003, Reason: strings.Repeat("long ", 50)}
	case "panic":
		rd.panics.Add(1)
		panic("OnMessage")
	case "goexit":
		runtime.Goexit()
	case "close":
		c.Close(4004, "as you say")
		return nil
	}
	if rd.pure && isTopical[command] {
		command = "echo"
	}
	if isTopical[command] {
		return ignore(rd.obeyTopical(c, f, command))
	}
	return rd.obey(c, f, command)
}

// obey obeys commands that do not end the connection by themselves.
func (rd *round) obey(c *hail.Conn, f *fate, command string) error {
	switch command {
	case "echo":
		return f.send(c.Send, "echo-"+f.name, f.draw(5000))
	case "burst":
		for range 20 {
			if err := f.send(c.Send, "burst-"+f.name, f.draw(3000)); err != nil {
				return err
			}
		}
	case "flood": // as much as TrySend accepts
		for range 500 {
			if f.send(c.TrySend, "flood-"+f.name, f.draw(2000)) != nil {
				return nil
			}
		}
	case "spawn":
		stream := fmt.Sprintf("spawn%d-%s", f.draw(1<<30), f.name)
		rd.others.Go(func() { // ends with the connection at the latest
			for range 30 {
				if f.send(c.Send, stream, 500) != nil {
					return
				}
			}
		})
	case "cross":
		stream := "cross-" + f.name
		for other := range rd.server.Conns() {
			if o, ok := other.State().(*fate); ok && f.draw(4) == 0 {
				return ignore(o.send(other.TrySend, stream, 300))
			}
		}
	case "closeothers":
		for other := range rd.server.Conns() {
			if f.draw(10) == 0 {
				other.Close(hail.StatusServiceRestart, "by another")
				return nil
			}
		}
	case "shutdown":
		rd.shutdown(f)
	case "block":
		time.Sleep(time.Duration(f.draw(20)) * time.Millisecond)
		if f.draw(20) == 0 {
			time.Sleep(300 * time.Millisecond)
		}
	case "look":
		rd.server.Stats()
		rd.server.Len()
		for range rd.server.Topics() {
		}
		c.Topics()
	case "context":
		if c.Context().Err() == nil && f.draw(3) == 0 {
			select {
			case <-c.Context().Done():
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
	return nil
}

// shutdown shuts the server down from a callback: beside it, or within it. The second is not allowed, but must not hang.
func (rd *round) shutdown(f *fate) {
	if !rd.early.CompareAndSwap(true, false) {
		return
	}
	end := func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
		defer cancel()
		rd.server.Shutdown(ctx)
	}
	if f.draw(2) == 0 {
		end()
	} else {
		rd.others.Go(end) // ends soon after its ctx
	}
}

var isTopical = map[string]bool{"publish": true, "order": true, "others": true, "subscribe": true, "resume": true, "unsubscribe": true,
	"broadcast": true, "free": true, "listen": true, "elsewhere": true}

// obeyTopical obeys commands about topics.
func (rd *round) obeyTopical(c *hail.Conn, f *fate, command string) error {
	t := rd.topics[topicNames[f.draw(3)]]
	switch command {
	case "publish":
		how := plainly(func(m hail.Message) error { return rd.server.Publish(t.name, m) })
		if f.draw(2) == 0 {
			how = rd.numbered(t.name)
		}
		return rd.publishSome(f, t, entry{}, how)
	case "others":
		return rd.publishSome(f, t, entry{sender: f}, plainly(func(m hail.Message) error { return c.Publish(t.name, m) }))
	case "broadcast":
		return rd.publishSome(f, rd.topics[toAll], entry{}, plainly(rd.server.Broadcast))
	case "order": // messages that are sent and published by turns arrive by turns
		stream := "order-" + f.name
		for range 5 {
			if err := f.send(c.TrySend, stream, 100); err != nil {
				return err
			}
			f.mu.Lock()
			e := entry{behind: f, stream: stream, sent: len(f.sent[stream])}
			f.mu.Unlock()
			if err := rd.publish(t, 100, e, rd.numbered(t.name)); err != nil {
				return err
			}
		}
	case "free":
		return rd.publishFree(f, 1+f.draw(10))
	case "listen":
		return rd.subscribe(c, f, rd.topics[free], false)
	case "subscribe":
		return rd.subscribe(c, f, t, false)
	case "resume":
		return rd.subscribe(c, f, t, true)
	case "unsubscribe":
		return rd.unsubscribe(c, f, t)
	case "elsewhere":
		rd.others.Go(func() { // ends soon
			ignore(rd.subscribe(c, f, t, false))
			if f.draw(2) == 0 {
				ignore(rd.unsubscribe(c, f, t))
			}
		})
	}
	return nil
}

// publishSome publishes some messages to a topic, one after the other.
func (rd *round) publishSome(f *fate, t *topic, e entry, how publishing) error {
	for range 1 + f.draw(10) {
		if err := rd.publish(t, f.draw(3000), e, how); err != nil {
			return err
		}
	}
	return nil
}
