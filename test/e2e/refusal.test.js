// A server that refuses the handshake, in each runtime: that is an error, not a lost connection.
import assert from 'node:assert/strict';
import { inEach } from './clients/index.js';

inEach('is refused with 403', async (t, runtime) => {
  const server = await runtime.refusing(t);
  const client = await runtime.open(t, server);
  await client.send('kept');
  await client.connect();
  const [error] = await client.logged(/^error /);
  await client.logged(/^close 1006\b/);
  await client.captioned('Connect');
  await client.says('Not connected, 1 waiting');
  await server.printed(/level=WARN msg=.*refused.*status=403/);
  if (runtime.tellsStatus) assert.match(error, /403/); // a browser hides the status from a page
  assert.deepEqual(await client.captions(), ['Connect', 'Connecting…', 'Connect']);
  assert.equal((await client.read()).lines.filter((line) => line.startsWith('retry')).length, 0);
});
