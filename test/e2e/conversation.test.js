// Messages both ways, in each runtime.
import assert from 'node:assert/strict';
import { inEach } from './clients/index.js';

inEach('is greeted, and answered', async (t, runtime) => {
  const server = await runtime.start(t);
  const client = await runtime.open(t, server);
  await client.captioned('Connect');
  await client.connect();
  await client.captioned('Disconnect');
  await client.logged(/^message something$/);
  for (const text of ['hello', 'and again']) await client.send(text);
  await client.logged(/^message something123$/, 2);
  await server.printed(/data="and again"/);
  assert.deepEqual(await server.messages(2), ['hello', 'and again']);

  const { lines } = await client.read();
  assert.match(lines[0], /^open \S+\/ws$/);
  assert.equal(lines[1], 'message something');
  assert.deepEqual(lines.filter((line) => line.startsWith('send ')), ['send hello', 'send and again']);
  if (client.toasts) assert.deepEqual(await client.toasts(), ['Connecting…', null]);
});

inEach('sends text and bytes', async (t, runtime) => {
  const server = await runtime.start(t);
  const client = await runtime.open(t, server);
  await client.connect();
  await client.logged(/^message /);
  await client.sendBytes();
  await client.logged(/^send 4 bytes$/);
  await client.logged(runtime.echoesBytes ? /^message 4 bytes$/ : /^message something123$/);
  await client.send('text');
  await client.logged(/^message /, 3);
  await server.printed(/type=MessageBinary/);
  await server.printed(/type=MessageText data=text/);
  if (runtime.echoesBytes) assert.deepEqual(await server.messages(2), ['0001feff', 'text']);
});

inEach('speaks Chinese both ways', async (t, runtime) => {
  const server = await runtime.start(t, '-greeting', '你好，世界 👋', '-reply', '收到');
  const client = await runtime.open(t, server);
  await client.send('在线吗？');
  await client.connect();
  await client.logged(/^message 你好，世界 👋$/);
  await client.logged(/^send 在线吗？$/);
  await client.logged(/^message 收到$/);
  await server.printed(/msg=message .*data=在线吗？/);
});
