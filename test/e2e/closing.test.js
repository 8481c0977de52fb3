// Connections that are closed on purpose, in each runtime: they stay closed.
import assert from 'node:assert/strict';
import { inEach } from './clients/index.js';

inEach('closes by the button, with 1000', async (t, runtime) => {
  const server = await runtime.start(t);
  const client = await runtime.open(t, server);
  await client.connect();
  await client.captioned('Disconnect');
  await client.logged(/^message /);
  await client.connect();
  await client.captioned('Connect');
  assert.match((await client.logged(/^close /))[0], /^close 1000\b/);
  await server.printed(/level=INFO msg=close .*code=1000 reason=bye cause="peer closed"/);
  assert.deepEqual(await client.captions(), ['Connect', 'Connecting…', 'Disconnect', 'Closing…', 'Connect']);
  if (client.toasts) assert.deepEqual(await client.toasts(), ['Connecting…', null, 'Closing…', null]);

  await client.send('for later');
  await client.says('Not connected, 1 waiting');
  assert.equal((await client.read()).lines.at(-1), 'queue for later'); // and nothing about another attempt
});

inEach('does not come back after a code that is final', async (t, runtime) => {
  const server = await runtime.start(t);
  const client = await runtime.open(t, server);
  await client.connect();
  await client.logged(/^message /);
  await (client.sendLong ?? client.send)('x'.repeat(64 * 1024 + 1)); // one byte over hail's default
  await client.captioned('Connect');
  assert.match((await client.logged(/^close /))[0], /^close 1009\b/);
  await server.printed(/msg=close .*code=1009/);
  const { lines } = await client.read();
  assert.equal(lines.filter((line) => line.startsWith('retry')).length, 0);
});
