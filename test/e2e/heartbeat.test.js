// A server that falls silent without a close, in each runtime that has a heartbeat: pings in Node, messages elsewhere.
import assert from 'node:assert/strict';
import { inEach } from './clients/index.js';

const heartbeat = { interval: 200, timeout: 1500, message: 'ping', answer: 'pong' };

inEach('notices a server that is frozen, and comes back when it thaws', async (t, runtime) => {
  const server = await runtime.start(t);
  const client = await runtime.open(t, server, { heartbeat });
  await client.connect();
  await client.logged(/^message something$/);
  server.signal('SIGSTOP');
  await client.captioned('Stop');
  assert.deepEqual(await client.logged(/^error /), ['error no answer within 1.5 s']);
  assert.match((await client.logged(/^close /))[0], /^close 1006\b/);

  server.signal('SIGCONT');
  await client.captioned('Disconnect');
  await client.logged(/^message something$/, 2);
  await server.printed(/level=INFO msg=close conn=1 /);
  assert.deepEqual(await server.messages(0), []);
  assert.equal((await client.read()).lines.filter((line) => line.includes('pong')).length, 0);
}, (runtime) => runtime.name !== 'browser page'); // the greeter would answer it as a message
