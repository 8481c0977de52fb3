// Drives the greeter with the ws client.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { WebSocket } from 'ws';
import { Greeter, limit } from './greeter.js';

const readLimit = 64 * 1024; // hail's default

// dial starts a client whose messages and close can be awaited, however early they come.
function dial(t, url, options) {
  const socket = new WebSocket(url, options);
  t.after(() => socket.terminate());
  const messages = [];
  let wake = () => {};
  socket.on('message', (data, isBinary) => {
    messages.push(isBinary ? data : data.toString());
    wake();
  });
  const opened = once(socket, 'open');
  const closed = once(socket, 'close').then(([code, reason]) => ({ code, reason: reason.toString() }));
  closed.catch(() => {}); // a failed dial rejects both; tests await the one they mean
  closed.finally(() => wake()).catch(() => {});
  return {
    socket,
    opened,
    closed,
    // next returns the next message.
    async next() {
      while (messages.length === 0) {
        if (socket.readyState === WebSocket.CLOSED) throw new Error('closed while waiting for a message');
        await new Promise((resolve) => { wake = resolve; });
      }
      return messages.shift();
    },
  };
}

test('greets a connection and answers its messages', limit, async (t) => {
  const client = dial(t, (await Greeter.start(t)).ws());
  assert.equal(await client.next(), 'something');
  for (const message of ['hello', '', '你好 👋', 'x'.repeat(readLimit)]) {
    client.socket.send(message);
    assert.equal(await client.next(), 'something123');
  }
  client.socket.close(1000);
  assert.equal((await client.closed).code, 1000);
});

test('answers binary messages', limit, async (t) => {
  const greeter = await Greeter.start(t);
  const client = dial(t, greeter.ws());
  assert.equal(await client.next(), 'something');
  client.socket.send(Buffer.from([0, 1, 254, 255]));
  assert.equal(await client.next(), 'something123');
  await greeter.printed(/msg=message .*type=MessageBinary/);
});

test('joins fragments into one message', limit, async (t) => {
  const greeter = await Greeter.start(t);
  const client = dial(t, greeter.ws());
  assert.equal(await client.next(), 'something');
  client.socket.send('first ', { fin: false });
  client.socket.ping(); // a control frame may come between fragments
  client.socket.send('second ', { fin: false });
  client.socket.send('third', { fin: true });
  assert.equal(await client.next(), 'something123');
  await greeter.printed(/data="first second third"/);
  assert.equal(greeter.output.match(/msg=message/g).length, 1);
});

test('answers a ping with its payload', limit, async (t) => {
  const client = dial(t, (await Greeter.start(t)).ws());
  await client.opened;
  client.socket.ping('are you there');
  const [payload] = await once(client.socket, 'pong');
  assert.equal(payload.toString(), 'are you there');
});

test('is told the close code and reason, and returns the code', limit, async (t) => {
  const greeter = await Greeter.start(t);
  const client = dial(t, greeter.ws());
  assert.equal(await client.next(), 'something');
  client.socket.close(4001, 'had enough');
  assert.equal((await client.closed).code, 4001);
  await greeter.printed(/msg=close .*code=4001 reason="had enough"/);
});

test('notices a client that vanishes', limit, async (t) => {
  const greeter = await Greeter.start(t);
  const client = dial(t, greeter.ws());
  assert.equal(await client.next(), 'something');
  client.socket.terminate();
  await greeter.printed(/msg=close .*code=1006/);
});

test('prints the path and never the query', limit, async (t) => {
  const greeter = await Greeter.start(t);
  const client = dial(t, greeter.ws('?token=s3cret'), { headers: { Cookie: 'session=s3cret' } });
  assert.equal(await client.next(), 'something');
  client.socket.close();
  await client.closed;
  await greeter.printed(/msg=close/);

  const refused = dial(t, greeter.ws('?token=s3cret'), { origin: 'https://elsewhere.example' });
  await assert.rejects(refused.opened, /403/);
  const plain = await fetch(`${greeter.url}ws?token=s3cret`);
  assert.equal(plain.status, 426);

  assert.equal(await greeter.stop('SIGTERM'), 0);
  assert.match(greeter.output, /msg=open .*path=\/ws/);
  assert.match(greeter.output, /elsewhere\.example/);
  assert.doesNotMatch(greeter.output, /s3cret|token/);
});

test('handles messages in the order they were sent', limit, async (t) => {
  const greeter = await Greeter.start(t);
  const client = dial(t, greeter.ws());
  assert.equal(await client.next(), 'something');
  const want = Array.from({ length: 1000 }, (_, i) => `number ${i}`);
  for (const message of want) client.socket.send(message);
  for (const _ of want) assert.equal(await client.next(), 'something123');
  await greeter.printed(/data="number 999"/);
  const got = [...greeter.output.matchAll(/data="(number \d+)"/g)].map(([, data]) => data);
  assert.deepEqual(got, want);
});

test('closes with 1009 what sends more than the limit', limit, async (t) => {
  const client = dial(t, (await Greeter.start(t)).ws());
  assert.equal(await client.next(), 'something');
  client.socket.send('x'.repeat(readLimit + 1));
  assert.equal((await client.closed).code, 1009);
});

test('closes with 1009 fragments that exceed the limit together', limit, async (t) => {
  const client = dial(t, (await Greeter.start(t)).ws());
  assert.equal(await client.next(), 'something');
  client.socket.send('x'.repeat(readLimit), { fin: false });
  client.socket.send('x', { fin: true });
  assert.equal((await client.closed).code, 1009);
});

test('serves two hundred clients at once', limit, async (t) => {
  const greeter = await Greeter.start(t);
  const clients = Array.from({ length: 200 }, () => dial(t, greeter.ws()));
  await Promise.all(clients.map(async (client, i) => {
    assert.equal(await client.next(), 'something');
    for (let n = 0; n < 10; n++) {
      client.socket.send(`client ${i}, message ${n}`);
      assert.equal(await client.next(), 'something123');
    }
    client.socket.close(1000);
    assert.equal((await client.closed).code, 1000);
  }));
});

for (const signal of ['SIGTERM', 'SIGINT']) {
  test(`${signal} drains: clients are closed with 1001, the exit code is 0`, limit, async (t) => {
    const greeter = await Greeter.start(t);
    const clients = Array.from({ length: 50 }, () => dial(t, greeter.ws()));
    for (const client of clients) assert.equal(await client.next(), 'something');
    assert.equal(await greeter.stop(signal), 0);
    for (const client of clients) assert.equal((await client.closed).code, 1001);
    assert.equal(greeter.output.match(/msg=close .*code=1001/g).length, clients.length);
  });
}
