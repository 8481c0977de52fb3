package life

// Next is the table of the state machine.
func Next(s State, e Event) (State, Do) { return next(s, e) }

// Events is the number of events.
const Events = events

// Lost reports whether it is unknown where the peer's next frame begins.
func (s State) Lost() bool { return s&lost != 0 }

// Ended reports whether the peer has ended its sending direction.
func (s State) Ended() bool { return s&ended != 0 }
