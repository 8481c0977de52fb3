// The client module by itself, with fake sockets and a fake clock.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import { limit } from './program.js';

const { Client, webSocketDialer } = createRequire(import.meta.url)('../../examples/wechat/utils/socket.js');

const minute = 60 * 1000;

// start returns a client with sockets that the test controls, and its events: [event, ...arguments].
function start(t, options = {}) {
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'] });
  const sockets = [];
  const told = [];
  const dial = (url, protocols, on) => {
    const socket = { url, protocols, on, sent: [], closes: [], fails: false };
    socket.send = (data, done) => {
      if (!socket.fails) socket.sent.push(data);
      done(socket.fails ? new Error('not open') : undefined);
    };
    socket.close = (code, reason) => socket.closes.push([code, reason]);
    if (options.canPing) {
      socket.pings = 0;
      socket.ping = () => socket.pings++;
    }
    sockets.push(socket);
    return socket;
  };
  const names = ['open', 'message', 'send', 'queue', 'expire', 'error', 'close', 'retry'];
  const events = Object.fromEntries(names.map((name) => [name, (...args) => told.push([name, ...args])]));
  const client = new Client(dial, { url: 'ws://server/ws', ...options }, events);
  return {
    client,
    sockets,
    told,
    get socket() { return sockets.at(-1); },
    // is returns the arguments of one event.
    is: (event) => told.filter(([name]) => name === event).map(([, ...args]) => (args.length > 1 ? args : args[0])),
    open() {
      client.connect();
      sockets.at(-1).on.open();
    },
    pass: (ms) => t.mock.timers.tick(ms),
  };
}

test('waits are random, up to a bound that doubles up to the cap', limit, (t) => {
  let chance;
  t.mock.method(Math, 'random', () => chance);
  for (const [value, want] of [
    [1, [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]],
    [0.25, [250, 500, 1000, 2000, 4000, 7500, 7500]],
    [0, [0, 0, 0, 0, 0, 0, 0]],
  ]) {
    chance = value;
    t.mock.timers.reset();
    const it = start(t);
    it.open();
    for (let i = 0; i < want.length; i++) {
      it.socket.on.close(1006, '');
      assert.equal(it.client.state, 'reconnecting');
      const before = it.sockets.length;
      it.pass(Math.max(want[i] - 1, 0));
      if (want[i] > 0) assert.equal(it.sockets.length, before, `attempt ${i} came early`);
      it.pass(1);
      assert.equal(it.sockets.length, before + 1, `attempt ${i} did not come`);
    }
    assert.deepEqual(it.is('retry'), want);
  }
});

test('the clients of a server that drains spread over the first second', limit, (t) => {
  const delays = Array.from({ length: 200 }, () => {
    t.mock.timers.reset();
    const it = start(t);
    it.open();
    it.socket.on.close(1001, '');
    return it.is('retry')[0];
  });
  assert.ok(delays.every((delay) => delay >= 0 && delay < 1000), `got ${delays}`);
  for (let from = 0; from < 1000; from += 250) {
    const share = delays.filter((delay) => delay >= from && delay < from + 250).length;
    assert.ok(share > 15, `${share} of 200 between ${from} and ${from + 250} ms`); // about 50 are expected
  }
});

test('waits start over once a connection has held, and not before', limit, (t) => {
  t.mock.method(Math, 'random', () => 1);
  const it = start(t);
  it.open();
  for (const [held, want] of [[0, 1000], [9_999, 2000], [0, 4000], [10_000, 1000], [5 * minute, 1000]]) {
    it.pass(held);
    it.socket.on.close(1006, '');
    assert.equal(it.is('retry').at(-1), want, `after a connection of ${held} ms`);
    it.pass(want);
    it.socket.on.open();
  }
});

test('comes back after some close codes, and not after others', limit, (t) => {
  for (const code of [1001, 1005, 1006, 1011, 1012, 1013, 1014, 1015, 1000, 1002, 1003, 1007, 1008, 1009, 1010, 3000, 4000, 4999]) {
    t.mock.timers.reset();
    const it = start(t);
    it.open();
    it.socket.on.close(code, 'why');
    const want = [1001, 1005, 1006, 1011, 1012, 1013, 1014, 1015].includes(code) ? 'reconnecting' : 'closed';
    assert.equal(it.client.state, want, `after ${code}`);
    assert.deepEqual(it.is('close'), [[code, 'why']]);
    it.pass(minute);
    assert.equal(it.sockets.length, want === 'closed' ? 1 : 2);
  }
});

test('retryable chooses other codes', limit, (t) => {
  const it = start(t, { retryable: (code) => code === 4001 });
  it.open();
  it.socket.on.close(4001, '');
  assert.equal(it.client.state, 'reconnecting');
  it.pass(1000);
  it.socket.on.open();
  it.socket.on.close(1006, '');
  assert.equal(it.client.state, 'closed');
});

test('does not try again what has never worked', limit, (t) => {
  const it = start(t);
  it.client.connect();
  it.socket.on.error('refused');
  it.socket.on.close(1006, '');
  it.pass(minute);
  assert.equal(it.client.state, 'closed');
  assert.equal(it.sockets.length, 1);
  assert.deepEqual(it.told, [['error', 'refused'], ['close', 1006, '']]);
});

test('gives an attempt up after ten seconds, and is deaf to what comes of it', limit, (t) => {
  const it = start(t);
  it.client.connect();
  it.pass(9_999);
  assert.equal(it.client.state, 'connecting');
  it.pass(1);
  assert.deepEqual(it.told, [['error', 'no connection within 10 s'], ['close', 1006, '']]);
  assert.deepEqual(it.socket.closes, [[1000, 'no answer']]);
  it.socket.on.open();
  it.socket.on.message('late');
  it.socket.on.close(1000, '');
  assert.equal(it.client.state, 'closed');
  assert.equal(it.told.length, 2);
});

test('a dial that throws, and one that fails at once, are failed attempts', limit, () => {
  for (const dial of [() => { throw new Error('bad url'); }, (_, __, on) => { on.error('bad url'); on.close(1006, ''); return {}; }]) {
    const told = [];
    const client = new Client(dial, { url: '' }, { error: (text) => told.push(text), close: (code) => told.push(code) });
    client.connect();
    assert.equal(client.state, 'closed');
    assert.deepEqual(told, ['bad url', 1006]);
  }
});

test('asks for the address before each attempt', limit, (t) => {
  let tokens = 0;
  const it = start(t, { url: () => `ws://server/ws?token=${++tokens}`, protocols: ['greeter'] });
  it.open();
  it.socket.on.close(1006, '');
  it.pass(1000);
  assert.deepEqual(it.sockets.map(({ url }) => url), ['ws://server/ws?token=1', 'ws://server/ws?token=2']);
  assert.deepEqual(it.socket.protocols, ['greeter']);
});

test('close: the code and the reason, five seconds at most, and no way back', limit, (t) => {
  const it = start(t);
  it.open();
  it.client.close(4000, 'had enough');
  it.client.close(4001, 'twice');
  assert.equal(it.client.state, 'closing');
  assert.deepEqual(it.socket.closes, [[4000, 'had enough']]);
  it.socket.on.message('still heard');
  it.pass(5_000);
  assert.equal(it.client.state, 'closed');
  assert.deepEqual(it.is('close'), [[1006, '']]);
  assert.deepEqual(it.is('message'), ['still heard']);
  it.pass(minute);
  assert.equal(it.sockets.length, 1);
});

test('close while connecting, and between two attempts', limit, (t) => {
  const it = start(t);
  it.client.connect();
  it.client.close();
  it.socket.on.open(); // had been under way
  assert.equal(it.client.state, 'closing');
  it.socket.on.close(1006, '');
  assert.equal(it.client.state, 'closed');

  it.open();
  it.socket.on.close(1006, '');
  it.client.close();
  assert.equal(it.client.state, 'closed');
  it.pass(minute);
  assert.equal(it.sockets.length, 2);
  it.client.connect();
  assert.equal(it.client.state, 'connecting');
});

test('a handler may close what is lost', limit, (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'] });
  let on;
  const told = [];
  const client = new Client((url, protocols, events) => { on = events; return { close() {} }; }, { url: '' }, {
    close: () => client.close(),
    retry: () => told.push('retry'),
  });
  client.connect();
  on.open();
  on.close(1006, '');
  assert.equal(client.state, 'closed');
  assert.deepEqual(told, []);
});

test('what is sent on open goes ahead of what waits; a close on open keeps it', limit, (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'] });
  let on;
  const sent = [];
  const dial = (url, protocols, events) => {
    on = events;
    return { send: (data, done) => { sent.push(data); done(); }, close() {} };
  };
  let open = () => client.close();
  const client = new Client(dial, { url: '' }, { open: () => open() });
  client.send('waits');
  client.connect();
  on.open();
  assert.deepEqual(sent, []);
  assert.equal(client.waiting, 1);
  on.close(1000, '');

  open = () => client.send('login');
  client.connect();
  on.open();
  assert.deepEqual(sent, ['login', 'waits']);
});

test('an error without a close is the end after five seconds, unless something comes', limit, (t) => {
  const it = start(t);
  it.open();
  it.socket.on.error('odd');
  it.pass(4_999);
  it.socket.on.message('alive');
  it.pass(minute);
  assert.equal(it.client.state, 'open');
  it.socket.on.error('odd');
  it.pass(5_000);
  assert.equal(it.client.state, 'reconnecting');
  assert.deepEqual(it.is('close'), [[1006, '']]);
});

test('ten minutes of taps without a connection: the queue is bounded, and each tap is accounted for', limit, (t) => {
  const it = start(t);
  let refused = 0;
  for (let second = 0; second < 600; second++) {
    assert.ok(it.client.waiting <= 50, `${it.client.waiting} wait`);
    try {
      it.client.send(`tap ${second}`);
    } catch (err) {
      assert.match(err.message, /^50 messages wait already/);
      refused++;
    }
    it.pass(1000);
  }
  assert.equal(it.client.waiting, 50);
  assert.equal(refused, 550);

  it.pass(1000); // the first of them are now more than ten minutes old
  it.open();
  assert.deepEqual(it.is('expire'), ['tap 0']);
  assert.deepEqual(it.socket.sent, Array.from({ length: 49 }, (_, i) => `tap ${i + 1}`));
  assert.equal(it.client.waiting, 0);
});

test('the queue is bounded in size, text and bytes together', limit, (t) => {
  const it = start(t);
  it.client.send('x'.repeat(40_000));
  it.client.send(new ArrayBuffer(65_536 - 40_000));
  assert.throws(() => it.client.send('x'), /2 messages wait already/);
  it.client.send('');
  assert.equal(it.client.waiting, 3);
  assert.deepEqual(it.is('queue').length, 3);
});

test('keeps bytes as they were, and takes text, buffers and views only', limit, (t) => {
  const it = start(t);
  const bytes = new Uint8Array([1, 2, 3, 4]);
  it.client.send(bytes.subarray(1, 3));
  it.client.send(bytes.buffer);
  bytes.fill(9);
  it.client.send(new DataView(new Uint8Array([7, 8]).buffer, 1));
  for (const data of [undefined, null, 1, {}, [1]]) assert.throws(() => it.client.send(data), TypeError);
  it.open();
  assert.deepEqual(it.socket.sent.map((data) => [...new Uint8Array(data)]), [[2, 3], [1, 2, 3, 4], [8]]);
});

test('what a dying socket does not take goes first over the next', limit, (t) => {
  const it = start(t);
  it.open();
  it.client.send('taken');
  const late = [];
  it.socket.send = (data, done) => late.push(() => done(new Error('not open')));
  it.client.send('first');
  it.client.send('second');
  it.socket.on.close(1006, '');
  it.client.send('third');
  for (const fail of late.reverse()) fail();
  assert.equal(it.client.waiting, 3);
  it.pass(1000);
  it.socket.on.open();
  assert.deepEqual(it.socket.sent, ['first', 'second', 'third']);
  assert.deepEqual(it.is('send'), ['taken', 'first', 'second', 'third']);
  assert.deepEqual(it.is('error'), ['not open', 'not open']);
});

test('what a socket refuses to take waits for the next, and is not tried again and again', limit, (t) => {
  const it = start(t);
  it.open();
  it.socket.fails = true;
  it.client.send('refused');
  assert.equal(it.client.waiting, 1);
  assert.deepEqual(it.told.slice(1), [['error', 'not open'], ['queue', 'refused']]);
});

const heartbeat = { interval: 30_000, timeout: 10_000, message: 'ping', answer: 'pong' };

test('heartbeat by message: after silence, its answer hidden', limit, (t) => {
  const it = start(t, { heartbeat });
  it.open();
  it.pass(29_999);
  assert.deepEqual(it.socket.sent, []);
  it.pass(1);
  assert.deepEqual(it.socket.sent, ['ping']);
  it.socket.on.message('pong');
  it.socket.on.message('pong'); // nobody has asked for this one
  assert.deepEqual(it.is('message'), ['pong']);
  it.pass(20_000);
  it.socket.on.message('any message is life');
  it.pass(29_999);
  assert.deepEqual(it.socket.sent, ['ping']);
  it.pass(1);
  assert.deepEqual(it.socket.sent, ['ping', 'ping']);
  assert.deepEqual(it.is('send'), []);
});

test('heartbeat by ping where the runtime has one', limit, (t) => {
  const it = start(t, { heartbeat, canPing: true });
  it.open();
  it.pass(30_000);
  assert.equal(it.socket.pings, 1);
  it.pass(9_999);
  it.socket.on.alive();
  it.pass(1);
  assert.equal(it.client.state, 'open');
  assert.deepEqual(it.socket.sent, []);
});

test('a heartbeat without an answer is a lost connection', limit, (t) => {
  const it = start(t, { heartbeat });
  it.open();
  it.pass(30_000);
  it.pass(10_000);
  assert.equal(it.client.state, 'reconnecting');
  assert.deepEqual(it.told.slice(1, 3), [['error', 'no answer within 10 s'], ['close', 1006, '']]);
  assert.deepEqual(it.socket.closes, [[1000, 'no answer']]);
});

test('without a heartbeat nothing is sent, and silence is nothing', limit, (t) => {
  const it = start(t);
  it.open();
  it.client.wake();
  it.pass(60 * minute);
  assert.equal(it.client.state, 'open');
  assert.deepEqual(it.socket.sent, []);
});

test('wake asks at once whether the server is there', limit, (t) => {
  const it = start(t, { heartbeat });
  it.open();
  it.client.wake();
  assert.deepEqual(it.socket.sent, ['ping']);
  it.pass(10_000);
  assert.equal(it.client.state, 'reconnecting');
});

test('wake does not wait for the next attempt, and starts its waits over', limit, (t) => {
  t.mock.method(Math, 'random', () => 1);
  const it = start(t);
  it.open();
  for (const wait of [1000, 2000]) {
    it.socket.on.close(1006, '');
    it.pass(wait);
  }
  it.socket.on.close(1006, ''); // the next attempt would be in 4 s
  it.client.wake();
  assert.equal(it.sockets.length, 4);
  it.client.wake(); // under way already
  assert.equal(it.sockets.length, 4);
  it.socket.on.close(1006, '');
  assert.equal(it.is('retry').at(-1), 1000);
});

test('wake does nothing where nothing is to be had', limit, (t) => {
  const it = start(t, { heartbeat });
  it.client.wake();
  it.open();
  it.client.close();
  it.client.wake();
  it.socket.on.close(1000, '');
  it.client.wake();
  assert.equal(it.sockets.length, 1);
  assert.deepEqual(it.socket.sent, []);
});

test('a timer that is late by a suspension does not cut a connection that may be well', limit, (t) => {
  const it = start(t, { heartbeat });
  it.open();
  it.pass(30_000);
  // The program is suspended for an hour: its clock goes on, its timers fire when it is back.
  const { now } = Date;
  t.mock.method(Date, 'now', () => now() + 60 * minute);
  it.pass(10_000);
  assert.equal(it.client.state, 'open');
  assert.deepEqual(it.socket.sent, ['ping', 'ping']); // asked again
  it.socket.on.message('pong');
  it.pass(20_000);
  assert.equal(it.client.state, 'open');
});

test('a WebSocket that is closing takes nothing', limit, () => {
  let socket;
  class Closing {
    constructor() {
      socket = this;
      this.sent = [];
      this.readyState = 1;
    }
    send(data) { this.sent.push(data); }
    close() {}
  }
  const client = new Client(webSocketDialer(Closing), { url: '' }, {});
  client.connect();
  socket.onopen();
  client.send('in time');
  socket.readyState = 2; // the server's close frame has arrived, the event has not
  client.send('too late');
  assert.deepEqual(socket.sent, ['in time']);
  assert.equal(client.waiting, 1);
  client.close();
  socket.onclose({ code: 1000, reason: '' });
});
