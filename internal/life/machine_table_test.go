package life_test

// The table of a connection's life, as it is meant to be: every event at every state at which it can happen.

// lifeTable has a line for each cell: phase and call before the event, phase and call after it, and what is to be done. A line that
// names facts after the call is for states with these facts; the one that names most of them counts. "+" is a fact that becomes known.
const lifeTable = `
Begin: a callback is about to begin
  opening/none                  opening/running +called   run
  open/none                     open/running              run
  closing/none                  closing/none
  cut/none                      cut/none

Accept: OnConnect has returned nil
  opening/running               open/none +accepted       count in
  opening/last                  closing/none +accepted    decide, frame, count in
  opening/last mute             cut/none +accepted        decide, end context, kill, count in
  closing/running               closing/none +accepted    count in
  cut/running                   cut/none +accepted        count in

Return: a callback has returned, and OnError if there was an error
  open/running                  open/none
  open/last                     closing/none              decide, frame
  open/last mute                cut/none                  decide, end context, kill
  broken/running                broken/none
  broken/last                   closing/none              decide, frame
  broken/last mute              cut/none                  decide, end context, kill
  failing/running               closing/none              frame
  failing/running mute          cut/none                  end context, kill
  closing/running               closing/none
  cut/running                   cut/none

Fail: a callback has returned an error, or panicked
  opening/running               failing/running           decide, report
  opening/last                  failing/running           decide, report
  open/running                  failing/running           decide, report
  open/last                     failing/running           decide, report
  closing/running               closing/running           report
  cut/running                   cut/running               report

GiveUp: a callback has returned the error of its own connection's end
  opening/running               broken/running
  opening/last                  broken/last
  open/running                  broken/running
  open/last                     broken/last
  closing/running               closing/running
  cut/running                   cut/running

Violate: the peer broke the protocol or a limit
  open/none                     failing/running           decide, report
  broken/none                   broken/none
  closing/none                  closing/none
  cut/none                      cut/none

Lose: the same, and where the next frame begins is no longer known
  open/none                     failing/running +lost     decide, report
  broken/none                   broken/none +lost
  closing/none                  closing/none +lost
  closing/none sent             closing/none +lost        half-close
  cut/none                      cut/none +lost

Expire: the peer broke a limit, as somebody found who may not call OnError
  opening/running               closing/running           decide, frame
  opening/running mute          cut/running               decide, end context, kill
  opening/last                  closing/running           decide, frame
  opening/last mute             cut/running               decide, end context, kill
  open/none                     closing/none              decide, frame
  open/none mute                cut/none                  decide, end context, kill
  open/running                  closing/running           decide, frame
  open/running mute             cut/running               decide, end context, kill
  open/last                     closing/running           decide, frame
  open/last mute                cut/running               decide, end context, kill
  broken/none                   closing/none              decide, frame
  broken/none mute              broken/none
  broken/running                closing/running           decide, frame
  broken/running mute           broken/running
  broken/last                   closing/running           decide, frame
  broken/last mute              broken/last
  failing/running               failing/running
  closing/none                  closing/none
  closing/running               closing/running
  cut/none                      cut/none
  cut/running                   cut/running
  done/none                     done/none

Close: Conn.Close was called
  opening/running               closing/running           decide, frame
  opening/running mute          cut/running               decide, end context, kill
  opening/last                  closing/running           decide, frame
  opening/last mute             cut/running               decide, end context, kill
  open/none                     closing/none              decide, frame
  open/none mute                cut/none                  decide, end context, kill
  open/running                  closing/running           decide, frame
  open/running mute             cut/running               decide, end context, kill
  open/last                     closing/running           decide, frame
  open/last mute                cut/running               decide, end context, kill
  broken/none                   closing/none              decide, frame
  broken/none mute              cut/none                  decide, end context, kill
  broken/running                closing/running           decide, frame
  broken/running mute           cut/running               decide, end context, kill
  broken/last                   closing/running           decide, frame
  broken/last mute              cut/running               decide, end context, kill
  failing/running               failing/running
  closing/none                  closing/none
  closing/running               closing/running
  cut/none                      cut/none
  cut/running                   cut/running
  done/none                     done/none

Drain: the server shuts down
  opening/none                  closing/none              decide, frame
  opening/none mute             cut/none                  decide, end context, kill
  opening/running               opening/last
  opening/last                  opening/last
  open/none                     closing/none              decide, frame
  open/none mute                cut/none                  decide, end context, kill
  open/running                  open/last
  open/last                     open/last
  broken/none                   closing/none              decide, frame
  broken/none mute              cut/none                  decide, end context, kill
  broken/running                broken/last
  broken/last                   broken/last
  failing/running               failing/running
  closing/none                  closing/none
  closing/running               closing/running
  cut/none                      cut/none
  cut/running                   cut/running
  done/none                     done/none

CutOff: the server, its user or a timeout ends the connection at once
  opening/none                  cut/none                  decide, end context, kill
  opening/running               cut/running               decide, end context, kill
  opening/last                  cut/running               decide, end context, kill
  open/none                     cut/none                  decide, end context, kill
  open/running                  cut/running               decide, end context, kill
  open/last                     cut/running               decide, end context, kill
  broken/none                   cut/none                  decide, end context, kill
  broken/running                cut/running               decide, end context, kill
  broken/last                   cut/running               decide, end context, kill
  failing/running               cut/running               end context, kill
  closing/none                  cut/none                  end context, kill
  closing/running               cut/running               end context, kill
  cut/none                      cut/none
  cut/running                   cut/running
  done/none                     done/none

Starve: the peer is silent or accepts no data
  opening/none                  cut/none                  decide, end context, abandon
  opening/running               cut/running               decide, end context, abandon
  opening/last                  cut/running               decide, end context, abandon
  open/none                     cut/none                  decide, end context, abandon
  open/running                  cut/running               decide, end context, abandon
  open/last                     cut/running               decide, end context, abandon
  broken/none                   cut/none                  decide, end context, abandon
  broken/running                cut/running               decide, end context, abandon
  broken/last                   cut/running               decide, end context, abandon
  failing/running               cut/running               end context, abandon
  closing/none                  cut/none                  end context, abandon
  closing/running               cut/running               end context, abandon
  cut/none                      cut/none
  cut/running                   cut/running
  done/none                     done/none

PeerClose: the peer's close frame was read
  open/none                     closing/none +received    decide, end context, frame
  open/none mute                cut/none +received        decide, end context, kill
  broken/none                   closing/none +received    decide, end context, frame
  broken/none mute              cut/none +received        decide, end context, kill
  closing/none                  closing/none +received    end context
  closing/none mute             cut/none +received        end context, kill
  closing/none sent             cut/none +received        end context, finish
  cut/none                      cut/none +received

EndOfStream: the peer has ended its sending direction
  open/none                     cut/none                  decide, end context, kill
  broken/none                   cut/none                  decide, end context, kill
  closing/none                  closing/none +ended       end context
  closing/none sent             cut/none                  end context, kill
  closing/none mute             cut/none                  end context, kill
  cut/none                      cut/none

ReadFailed: nothing can be read any more
  open/none                     cut/none                  decide, end context, kill
  broken/none                   cut/none                  decide, end context, kill
  closing/none                  cut/none                  end context, kill
  cut/none                      cut/none

WriteFailed: nothing can be written any more
  opening/none                  opening/none +mute
  opening/running               opening/running +mute
  opening/last                  opening/last +mute
  open/none                     open/none +mute
  open/running                  open/running +mute
  open/last                     open/last +mute
  broken/none                   broken/none +mute
  broken/running                broken/running +mute
  broken/last                   broken/last +mute
  failing/running               failing/running +mute
  closing/none                  closing/none +mute
  closing/none received         cut/none +mute            end context, kill
  closing/none ended            cut/none +mute            end context, kill
  closing/none received ended   cut/none +mute            end context, kill
  closing/running               closing/running +mute
  cut/none                      cut/none +mute
  cut/running                   cut/running +mute
  done/none                     done/none

CloseWritten: the close frame was written
  closing/none                  closing/none +sent
  closing/none lost             closing/none +sent        half-close
  closing/none received         cut/none +sent            end context, finish
  closing/none ended            cut/none +sent            end context, finish
  closing/none received ended   cut/none +sent            end context, finish
  closing/none lost ended       cut/none +sent            end context, finish
  closing/running               closing/running +sent
  cut/none                      cut/none +sent
  cut/running                   cut/running +sent
  done/none                     done/none

Hangup: the peer is known to have gone
  opening/none                  opening/none              end context
  opening/running               opening/running           end context
  opening/last                  opening/last              end context
  open/none                     open/none                 end context
  open/running                  open/running              end context
  open/last                     open/last                 end context
  broken/none                   broken/none               end context
  broken/running                broken/running            end context
  broken/last                   broken/last               end context
  failing/running               failing/running           end context
  closing/none                  closing/none              end context
  closing/running               closing/running           end context
  cut/none                      cut/none                  end context
  cut/running                   cut/running               end context
  done/none                     done/none

Overdue: a callback runs, and CloseTimeout has passed
  failing/running               failing/running           end context
  closing/none                  closing/none              end context
  closing/running               closing/running           end context
  cut/none                      cut/none                  end context
  cut/running                   cut/running               end context
  done/none                     done/none

TransportEnded: nothing of the connection runs any more
  open/none                     done/none                 decide, end context, count out, OnClose
  broken/none called            done/none                 decide, end context, OnClose
  broken/none called accepted   done/none                 decide, end context, count out, OnClose
  closing/none                  done/none                 end context
  closing/none called           done/none                 end context, OnClose
  closing/none called accepted  done/none                 end context, count out, OnClose
  cut/none                      done/none                 end context
  cut/none called               done/none                 end context, OnClose
  cut/none called accepted      done/none                 end context, count out, OnClose
`
