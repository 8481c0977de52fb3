// A WebSocket connection that lasts. It queues messages while it is not connected, reconnects when it is lost, and
// notices a silent server. It does not depend on the runtime: `dial` opens the sockets, with wx.js in a mini program,
// and with webSocketDialer in browsers and in Node.
'use strict';

/** @typedef {'closed' | 'connecting' | 'open' | 'closing' | 'reconnecting'} State */

/**
 * The events of a runtime's socket. alive is a sign of life that is not a message.
 * @typedef {object} SocketEvents
 * @property {() => void} open
 * @property {(data: string | ArrayBuffer) => void} message
 * @property {() => void} alive
 * @property {(text: string) => void} error
 * @property {(code: number, reason: string) => void} close
 */

/**
 * A runtime's socket. send calls done once, with an error if the data was not accepted. ping is defined if the
 * runtime can send pings; alive reports the answer.
 * @typedef {object} Socket
 * @property {(data: string | ArrayBuffer, done: (err?: Error) => void) => void} send
 * @property {(code: number, reason: string) => void} close
 * @property {() => void} [ping]
 */

/** @typedef {(url: string, protocols: string[], on: SocketEvents) => Socket} Dial */

/**
 * Times are milliseconds.
 * @typedef {object} Options
 * @property {string | (() => string)} url the address, or a function that returns it before each attempt (for a fresh token)
 * @property {string[]} protocols the subprotocols to offer
 * @property {number} queueMessages the most messages that wait
 * @property {number} queueSize the most they hold together, in characters of text and bytes
 * @property {number} queueAge how long a message may wait
 * @property {number} connectTimeout how long an attempt may take
 * @property {number} closeTimeout how long the server's close frame is waited for
 * @property {number} retryBase the longest first wait before connecting again; doubles with each attempt
 * @property {number} retryCap the longest wait of all
 * @property {number} settled how long a connection must have held for the waits to start over
 * @property {(code: number) => boolean} retryable whether to reconnect after this close code
 * @property {Heartbeat | null} heartbeat how to notice a server that is gone without a close; null: not at all
 */

/**
 * After interval without a sign of life the client asks the server for one, and waits for timeout. It sends a ping, or
 * message if the runtime cannot send pings. answer is the server's reply to message, and is not handed on.
 * @typedef {object} Heartbeat
 * @property {number} interval
 * @property {number} timeout
 * @property {string} message
 * @property {string} answer
 */

/**
 * @typedef {object} Events
 * @property {() => void} change state or waiting has changed
 * @property {() => void} open messages that it sends go ahead of the queue
 * @property {(data: string | ArrayBuffer) => void} message
 * @property {(data: string | ArrayBuffer) => void} send the socket has accepted it
 * @property {(data: string | ArrayBuffer) => void} queue it is queued
 * @property {(data: string | ArrayBuffer) => void} expire it has waited too long and is dropped
 * @property {(text: string) => void} error
 * @property {(code: number, reason: string) => void} close a connection has ended, or an attempt failed (1006)
 * @property {(delay: number) => void} retry the next attempt is in delay
 */

/** @typedef {{ data: string | ArrayBuffer, at: number, number: number }} Waiting */

class Client {
  /**
   * @param {Dial} dial
   * @param {Partial<Options> & Pick<Options, 'url'>} options Client.defaults has the defaults
   * @param {Partial<Events>} events
   */
  constructor(dial, options, events) {
    /** @type {State} */
    this.state = 'closed';
    this._dial = dial;
    /** @type {Options} */
    this._options = { ...Client.defaults, ...options };
    this._events = events;
    /** @type {Waiting[]} */
    this._queue = [];
    this._sent = 0;
    /** @type {object | null} marks the current attempt; events of earlier sockets are ignored */
    this._attempt = null;
    /** @type {Socket | null} */
    this._socket = null;
    this._lasting = false; // has been open since connect was called
    this._openedAt = 0;
    this._attempts = 0; // since the last connection that settled
    this._asked = false;
    /** @type {any} the timer of the current state */
    this._timer = undefined;
  }

  // waiting is the number of queued messages.
  get waiting() {
    return this._queue.length;
  }

  // connect starts to connect. If the first attempt fails, the state is closed again.
  connect() {
    if (this.state !== 'closed') return;
    this._lasting = false;
    this._attempts = 0;
    this._become('connecting');
    this._open();
  }

  // close closes the connection, or ends the attempts to connect. Queued messages are kept.
  close(code = 1000, reason = '') {
    if (this.state === 'closed' || this.state === 'closing') return;
    if (!this._socket) {
      this._wait(0, null);
      this._become('closed');
      return;
    }
    this._become('closing');
    this._wait(this._options.closeTimeout, () => this._ended(1006, ''));
    this._socket.close(code, reason);
  }

  /**
   * send sends data, or queues it for the next connection. It throws if the queue is full. Data that the socket has
   * accepted may still be lost with the connection: if that matters, let the server acknowledge it.
   * @param {string | ArrayBuffer | ArrayBufferView} data
   */
  send(data) {
    const message = { data: own(data), at: Date.now(), number: this._sent++ };
    if (this.state === 'open') {
      this._hand(message);
      return;
    }
    this._expire();
    const { queueMessages, queueSize } = this._options;
    const size = this._queue.reduce((sum, { data }) => sum + sizeOf(data), sizeOf(message.data));
    if (this._queue.length >= queueMessages || size > queueSize) {
      throw new Error(`${this._queue.length} messages wait already: connect first`);
    }
    this._enqueue(message);
  }

  // wake is for a program that may have been suspended: it reconnects a lost connection at once,
  // and asks for a sign of life on a connection that seems open.
  wake() {
    if (this.state === 'reconnecting' && !this._attempt) {
      this._attempts = 0;
      this._open();
    } else if (this.state === 'open') {
      this._ask();
    }
  }

  _open() {
    const { url, protocols, connectTimeout } = this._options;
    const attempt = {};
    this._attempt = attempt;
    this._openedAt = 0;
    this._asked = false;
    this._wait(connectTimeout, () => this._giveUp(`no connection within ${connectTimeout / 1000} s`));
    /** @type {<A extends any[]>(handle: (...args: A) => void) => (...args: A) => void} */
    const ifCurrent = (handle) => (...args) => {
      if (this._attempt === attempt) handle.apply(this, args);
    };
    try {
      const socket = this._dial(typeof url === 'function' ? url() : url, protocols, {
        open: ifCurrent(this._opened),
        message: ifCurrent(this._received),
        alive: ifCurrent(this._alive),
        error: ifCurrent(this._failed),
        close: ifCurrent(this._ended),
      });
      if (this._attempt === attempt) this._socket = socket; // else the attempt has failed already
    } catch (err) {
      this._failed(err instanceof Error ? err.message : String(err));
      this._ended(1006, '');
    }
  }

  _opened() {
    if (this.state === 'closing') return; // close was called before
    this._lasting = true;
    this._openedAt = Date.now();
    this._become('open');
    this._emit('open');
    this._alive();
    this._flush();
  }

  /** @param {string | ArrayBuffer} data */
  _received(data) {
    const { heartbeat } = this._options;
    const isAnswer = this._asked && heartbeat !== null && data === heartbeat.answer;
    this._alive();
    if (!isAnswer) this._emit('message', data);
  }

  /** @param {string} text */
  _failed(text) {
    // Not every runtime emits a close after an error.
    if (this.state === 'open') this._wait(this._options.closeTimeout, () => this._ended(1006, ''));
    this._emit('error', text);
  }

  /** @param {number} code @param {string} reason */
  _ended(code, reason) {
    const again = this.state !== 'closing' && this._lasting && this._options.retryable(code);
    const held = this._openedAt !== 0 && Date.now() - this._openedAt >= this._options.settled;
    this._attempt = null;
    this._socket = null;
    this._wait(0, null);
    if (!again) {
      this._become('closed');
      this._emit('close', code, reason);
      return;
    }
    if (held) this._attempts = 0;
    const { retryBase, retryCap } = this._options;
    // Any time up to the longest wait: the clients of a server that went away must not reconnect together.
    const delay = Math.random() * Math.min(retryCap, retryBase * 2 ** this._attempts++);
    this._wait(delay, () => this._open());
    this._become('reconnecting');
    this._emit('close', code, reason);
    if (this.state === 'reconnecting') this._emit('retry', delay); // else a handler has called close
  }

  /** @param {string} text */
  _giveUp(text) {
    const socket = this._socket;
    this._emit('error', text);
    this._ended(1006, '');
    if (socket) socket.close(1000, 'no answer');
  }

  // _alive restarts the heartbeat's interval.
  _alive() {
    if (this.state !== 'open') return;
    this._asked = false;
    const { heartbeat } = this._options;
    if (heartbeat) this._wait(heartbeat.interval, () => this._ask());
    else this._wait(0, null);
  }

  // _ask asks the server for a sign of life.
  _ask() {
    const { heartbeat } = this._options;
    if (!heartbeat || !this._socket) return;
    const due = Date.now() + heartbeat.timeout;
    this._asked = true;
    this._wait(heartbeat.timeout, () => {
      // The timers of a suspended program are late, and the answer may be next in the event queue.
      if (Date.now() > due + heartbeat.timeout) this._ask();
      else this._giveUp(`no answer within ${heartbeat.timeout / 1000} s`);
    });
    if (this._socket.ping) this._socket.ping();
    else this._socket.send(heartbeat.message, () => {});
  }

  /** @param {Waiting} message */
  _hand(message) {
    const socket = this._socket;
    if (!socket) return;
    socket.send(message.data, (err) => {
      if (!err) {
        this._emit('send', message.data);
        return;
      }
      this._emit('error', err.message);
      this._enqueue(message);
      if (this.state === 'open' && this._socket !== socket) this._flush();
    });
  }

  /** @param {Waiting} message */
  _enqueue(message) {
    // A message that the socket did not accept was sent before the queued ones.
    const later = this._queue.findIndex(({ number }) => number > message.number);
    this._queue.splice(later < 0 ? this._queue.length : later, 0, message);
    this._emit('queue', message.data);
    this._emit('change');
  }

  _flush() {
    this._expire();
    if (this.state !== 'open' || this._queue.length === 0) return;
    for (const message of this._queue.splice(0)) this._hand(message);
    this._emit('change');
  }

  _expire() {
    const oldest = Date.now() - this._options.queueAge;
    for (;;) {
      const [first] = this._queue;
      if (!first || first.at >= oldest) return;
      this._queue.shift();
      this._emit('expire', first.data);
      this._emit('change');
    }
  }

  /** @param {State} state */
  _become(state) {
    if (this.state === state) return;
    this.state = state;
    this._emit('change');
  }

  /** @param {number} ms @param {(() => void) | null} then */
  _wait(ms, then) {
    clearTimeout(this._timer);
    this._timer = then ? setTimeout(then, ms) : undefined;
  }

  /**
   * @template {keyof Events} K
   * @param {K} name
   * @param {Parameters<Events[K]>} args
   */
  _emit(name, ...args) {
    const handle = /** @type {((...args: any[]) => void) | undefined} */ (this._events[name]);
    if (handle) handle(...args);
  }
}

/** @type {Omit<Options, 'url'>} */
Client.defaults = {
  protocols: [],
  queueMessages: 50,
  queueSize: 64 * 1024,
  queueAge: 10 * 60 * 1000,
  connectTimeout: 10 * 1000,
  closeTimeout: 5 * 1000,
  retryBase: 1000,
  retryCap: 30 * 1000,
  settled: 10 * 1000,
  // The server or a proxy went away, restarted, was overloaded or failed, or the network broke. Any other code is the
  // server's decision.
  retryable: (code) => [1001, 1005, 1006, 1011, 1012, 1013, 1014, 1015].includes(code),
  heartbeat: null,
};

/**
 * webSocketDialer returns a dial for a browser's WebSocket, or for that of the ws package in Node.
 * @param {any} WebSocket
 * @returns {Dial}
 */
function webSocketDialer(WebSocket) {
  return (url, protocols, on) => {
    const socket = new WebSocket(url, protocols);
    const open = 1;
    socket.binaryType = 'arraybuffer';
    socket.onopen = () => on.open();
    socket.onmessage = (/** @type {any} */ { data }) => on.message(data);
    socket.onerror = (/** @type {any} */ { message }) => on.error(message || 'the connection failed'); // a browser gives no details
    socket.onclose = (/** @type {any} */ { code, reason }) => on.close(code, reason);
    if (socket.ping) socket.on('ping', on.alive).on('pong', on.alive);
    return {
      send(data, done) {
        // After the server's close frame a browser's send drops its data silently.
        if (socket.readyState !== open) {
          done(new Error('the connection is closing'));
          return;
        }
        socket.send(data);
        done();
      },
      close: (code, reason) => socket.close(code, reason),
      ping: socket.ping && (() => socket.ping()),
    };
  };
}

// own returns a copy of data, so the caller cannot change it while it is queued.
/** @param {string | ArrayBuffer | ArrayBufferView} data */
function own(data) {
  if (typeof data === 'string') return data;
  if (data instanceof ArrayBuffer) return data.slice(0);
  if (ArrayBuffer.isView(data)) {
    return /** @type {ArrayBuffer} */ (data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength));
  }
  throw new TypeError('data is neither text nor bytes');
}

/** @param {string | ArrayBuffer} data */
function sizeOf(data) {
  return typeof data === 'string' ? data.length : data.byteLength;
}

if (typeof module === 'object') module.exports = { Client, webSocketDialer };
