package soak_test

// The server's callbacks: they do what the client asks for.

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"time"

	"example.com/hail"
)

func (rd *round) onConnect(c *hail.Conn, r *http.Request) error {
	f := rd.fate(strings.TrimPrefix(r.URL.Path, "/"))
	c.SetState(f)
	f.mu.Lock()
	f.conn = c
	f.mu.Unlock()
	if err := f.send(c.Send, "hello-"+f.name, 0); err != nil {
		return err
	}
	switch rd.draw(40) {
	case 0:
		return errors.New("not you")
	case 1:
		rd.panics.Add(1)
		panic("OnConnect")
	case 2:
		return hail.CloseError{Code: 4001, Reason: "go"}
	case 3:
		time.Sleep(time.Duration(rd.draw(20)) * time.Millisecond)
	}
	return nil
}

func (rd *round) onClose(c *hail.Conn, info hail.CloseInfo) {
	f := c.State().(*fate)
	f.mu.Lock()
	f.ends++
	f.info = info
	f.mu.Unlock()
	if err := c.Send(hail.Text("late")); !errors.Is(err, hail.ErrConnClosed) {
		f.mu.Lock()
		f.complain("Send in OnClose: got %v, want ErrConnClosed", err)
		f.mu.Unlock()
	}
	if rd.draw(20) == 0 {
		rd.panics.Add(1)
		panic("OnClose")
	}
}

func (rd *round) onMessage(c *hail.Conn, m hail.Message) error {
	f, ok := c.State().(*fate)
	if !ok {
		rd.mu.Lock()
		rd.stray = append(rd.stray, fmt.Sprintf("OnMessage was called with %.50q before OnConnect, connection %d, %v", m.Data, c.ID(), context.Cause(c.Context())))
		rd.mu.Unlock()
		return nil
	}
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
	if rd.pure && isTopical(command) {
		command = "echo"
	}
	return rd.obey(c, f, command)
}

func isTopical(command string) bool {
	switch command {
	case "publish", "subscribe", "unsubscribe", "broadcast":
		return true
	}
	return false
}

// obey does what does not end the connection by itself.
func (rd *round) obey(c *hail.Conn, f *fate, command string) error {
	switch command {
	case "echo":
		return f.send(c.Send, "echo-"+f.name, rd.draw(5000))
	case "burst":
		for range 20 {
			if err := f.send(c.Send, "burst-"+f.name, rd.draw(3000)); err != nil {
				return err
			}
		}
	case "flood": // as much as TrySend takes
		for range 500 {
			if f.send(c.TrySend, "flood-"+f.name, rd.draw(2000)) != nil {
				return nil
			}
		}
	case "spawn":
		stream := fmt.Sprintf("spawn%d-%s", rd.draw(1<<30), f.name)
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
			if o, ok := other.State().(*fate); ok && rd.draw(4) == 0 {
				return ignore(o.send(other.TrySend, stream, 300))
			}
		}
	case "closeothers":
		for other := range rd.server.Conns() {
			if rd.draw(10) == 0 {
				other.Close(hail.StatusServiceRestart, "by another")
				return nil
			}
		}
	case "block":
		time.Sleep(time.Duration(rd.draw(20)) * time.Millisecond)
	case "look":
		rd.server.Stats()
		rd.server.Len()
		for range rd.server.Topics() {
		}
	case "context":
		if c.Context().Err() == nil && rd.draw(3) == 0 {
			select {
			case <-c.Context().Done():
			case <-time.After(10 * time.Millisecond):
			}
		}
	case "subscribe":
		name := []string{"a", "b", "c"}[rd.draw(3)]
		f.mu.Lock()
		again := f.left // what lies between would be a gap
		if !again {
			f.topics[name] = true
		}
		f.mu.Unlock()
		if !again {
			return ignore(c.Subscribe(name))
		}
	case "unsubscribe":
		f.mu.Lock()
		f.left = true
		f.mu.Unlock()
		return ignore(c.Unsubscribe("a", "b", "c"))
	case "publish":
		name := []string{"a", "b", "c"}[rd.draw(3)]
		rd.publish(name, func(m hail.Message) error { return rd.server.Publish(name, m) })
	case "broadcast":
		rd.publish("all", rd.server.Broadcast)
	}
	return nil
}

// ignore leaves out the error of a connection that ends.
func ignore(err error) error {
	if errors.Is(err, hail.ErrConnClosed) || errors.Is(err, hail.ErrQueueFull) {
		return nil
	}
	return err
}

// publish publishes some messages of a topic, one after the other.
func (rd *round) publish(name string, how func(hail.Message) error) {
	t := rd.published[name]
	for range 1 + rd.draw(10) {
		size := rd.draw(3000)
		t.Lock()
		m := hail.Message{Type: hail.MessageType(1 + t.n%2), Data: compose("topic"+name, t.n, "-", size)}
		if !t.over && how(m) == nil {
			t.n++
		}
		t.Unlock()
	}
}
