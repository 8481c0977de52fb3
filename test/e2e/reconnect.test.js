// Connections that are lost, in each runtime: they are made again.
import assert from 'node:assert/strict';
import { inEach, isMiniProgram } from './clients/index.js';

// connected returns a server and a client of it that has been greeted.
async function connected(t, runtime, options) {
  const server = await runtime.start(t);
  const client = await runtime.open(t, server, options);
  await client.connect();
  await client.logged(/^message something$/);
  return { server, client };
}

inEach('the server dies: it tries again, keeps what waits, and delivers it', async (t, runtime) => {
  const { server, client } = await connected(t, runtime);
  await client.chance(0.05); // of at most 30 s
  assert.equal(await server.stop('SIGKILL'), 'SIGKILL');
  await client.captioned('Stop');
  assert.match((await client.logged(/^close /))[0], /^close 1006\b/);
  await client.logged(/^error /); // an attempt while nobody listens
  await client.send('kept');
  await client.send('in order');
  await client.says('Connection lost, 2 waiting');

  const next = await server.again();
  await client.captioned('Disconnect');
  await client.logged(/^message something123$/, 2);
  assert.deepEqual(await next.messages(2), ['kept', 'in order']);
});

inEach('the server drains: it is told 1001, and comes back after a while of chance', async (t, runtime) => {
  const { server, client } = await connected(t, runtime);
  await client.chance(0.5);
  assert.equal(await server.stop('SIGTERM'), 0);
  assert.match(server.output, /level=INFO msg=close .*code=1001 reason="" cause=shutdown/);
  await client.captioned('Stop');
  assert.match((await client.logged(/^close /))[0], /^close 1001\b/);
  assert.equal((await client.logged(/^retry /))[0], 'retry in 0.5 s'); // half of at most one second

  const next = await server.again();
  await client.captioned('Disconnect');
  await next.printed(/msg=open/);
});

inEach('attempts become rarer, and end with the button', async (t, runtime) => {
  const { server, client } = await connected(t, runtime);
  await client.chance(0.2);
  await server.stop('SIGKILL');
  const retries = await client.logged(/^retry /, 3);
  assert.deepEqual(retries.slice(0, 3), ['retry in 0.2 s', 'retry in 0.4 s', 'retry in 0.8 s']);
  await client.connect();
  await client.captioned('Connect');
  await server.again();
  await client.send('for later');
  await client.says('Not connected, 1 waiting');
  const { lines } = await client.read();
  assert.equal(lines.filter((line) => line.startsWith('open')).length, 1);
});

inEach('a program that comes to the front does not wait for its turn', async (t, runtime) => {
  const { server, client } = await connected(t, runtime);
  await client.chance(600); // ten minutes
  await server.stop('SIGKILL');
  assert.deepEqual(await client.logged(/^retry /), ['retry in 600.0 s']);
  await server.again();
  await client.back();
  await client.captioned('Disconnect');
  await client.logged(/^message something$/, 2);
});

// WeChat cuts the connection of a program in the background, and the program learns of it when it comes back.
for (const order of ['shown first', 'told first']) {
  inEach(`a program that was suspended comes back, ${order}`, async (t, runtime) => {
    const { server, client } = await connected(t, runtime);
    await client.suspend();
    await server.printed(/level=INFO msg=close conn=1/);
    await client.send('while away'); // its own timers might do that
    await client.resume(order);
    await client.logged(/^message something123$/);
    await client.captioned('Disconnect');
    assert.match((await client.logged(/^close /))[0], /^close 1006 interrupted$/);
    await server.printed(/msg=open conn=2/);
    assert.deepEqual(await server.messages(1), ['while away']);
  }, isMiniProgram);
}
