// Messages that are sent before there is a connection, in each runtime. socket.test.js has the bounds in full.
import assert from 'node:assert/strict';
import { inEach } from './clients/index.js';

inEach('two taps before open arrive after open, in order', async (t, runtime) => {
  const server = await runtime.start(t);
  const client = await runtime.open(t, server);
  await client.send('first');
  await client.send('second');
  await client.says('Not connected, 2 waiting');
  assert.deepEqual((await client.read()).lines, ['queue first', 'queue second']);
  assert.deepEqual(await server.messages(0), []);

  await client.connect();
  await client.says('Connected');
  await client.logged(/^message something123$/, 2);
  assert.deepEqual(await server.messages(2), ['first', 'second']);
  const { lines } = await client.read();
  assert.match(lines[2], /^open /);
  assert.deepEqual(lines.slice(3, 5), ['send first', 'send second']);
});

inEach('a full queue refuses, and says so', async (t, runtime) => {
  const server = await runtime.start(t);
  const client = await runtime.open(t, server, { queueMessages: 3 });
  for (const text of ['one', 'two', 'three', 'four']) await client.send(text);
  assert.deepEqual(await client.logged(/^error /), ['error 3 messages wait already: connect first']);
  await client.says('Not connected, 3 waiting');
  await client.connect();
  await client.logged(/^message something123$/, 3);
  assert.deepEqual(await server.messages(3), ['one', 'two', 'three']);
}, (runtime) => runtime.name !== 'browser page'); // page.test.js has its 50

inEach('a queue that is ten minutes old has gone', async (t, runtime) => {
  const server = await runtime.start(t);
  const client = await runtime.open(t, server);
  await client.send('stale');
  await client.send('stale too');
  await client.later(10 * 60 * 1000 + 1);
  await client.send('fresh');
  assert.deepEqual(await client.logged(/^expire /, 2), ['expire stale', 'expire stale too']);
  await client.says('Not connected, 1 waiting');
  await client.connect();
  await client.logged(/^message something123$/);
  assert.deepEqual(await server.messages(1), ['fresh']);
});
