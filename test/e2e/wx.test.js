// The mini program's adapter, for the ways in which WeChat's sockets differ from a WebSocket.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import { limit } from './program.js';

const { dial } = createRequire(import.meta.url)('../../examples/wechat/utils/wx.js');

// start dials, and returns the options that wx got, its listeners, the socket, and the events.
function start(protocols = []) {
  const it = { told: [], sent: [], closes: [] };
  const task = {
    onOpen: (listener) => { it.opened = listener; },
    onMessage: (listener) => { it.message = listener; },
    onError: (listener) => { it.error = listener; },
    onClose: (listener) => { it.close = listener; },
    send: (option) => it.sent.push(option),
    close: (option) => it.closes.push(option),
  };
  globalThis.wx = {
    connectSocket(option) {
      it.option = option;
      return task;
    },
  };
  const tell = (name) => (...args) => it.told.push([name, ...args]);
  it.socket = dial('wss://server/ws', protocols, {
    open: tell('open'), message: tell('message'), alive: tell('alive'), error: tell('error'), close: tell('close'),
  });
  return it;
}

test('offers what it is given, and no empty list', limit, () => {
  assert.deepEqual(start(['greeter']).option.protocols, ['greeter']);
  assert.equal('protocols' in start().option, false);
  assert.equal(start().option.url, 'wss://server/ws');
});

test('a call that fails, and an error before open, are the end', limit, () => {
  const refused = start();
  refused.option.fail({ errMsg: 'connectSocket:fail url not in domain list' });
  assert.deepEqual(refused.told, [['error', 'connectSocket:fail url not in domain list'], ['close', 1006, '']]);

  const failed = start();
  failed.error({ errMsg: 'timeout' });
  assert.deepEqual(failed.told, [['error', 'timeout'], ['close', 1006, '']]);
});

test('an error after open leaves the end to the close', limit, () => {
  const it = start();
  it.opened({ header: {} });
  it.error({ errMsg: 'abort' });
  it.close({ code: 1001, reason: 'Stream end encountered' });
  assert.deepEqual(it.told, [['open'], ['error', 'abort'], ['close', 1001, 'Stream end encountered']]);
});

test('an interruption is no close that somebody meant', limit, () => {
  for (const [told, want] of [
    [{ code: 1000, reason: 'interrupted' }, ['close', 1006, 'interrupted']],
    [{ code: 1000, reason: 'normal closure' }, ['close', 1000, 'normal closure']],
    [{ code: 1000, reason: '' }, ['close', 1000, '']],
    [{}, ['close', 1006, '']],
  ]) {
    const it = start();
    it.close(told);
    assert.deepEqual(it.told, [want]);
  }
});

test('hands text and bytes on, both ways, and says whether they were taken', limit, () => {
  const it = start();
  const bytes = new ArrayBuffer(4);
  it.message({ data: '你好' });
  it.message({ data: bytes });
  assert.deepEqual(it.told, [['message', '你好'], ['message', bytes]]);

  const done = [];
  it.socket.send('text', (err) => done.push(err?.message));
  it.socket.send(bytes, (err) => done.push(err?.message));
  assert.deepEqual(it.sent.map(({ data }) => data), ['text', bytes]);
  it.sent[0].success();
  it.sent[1].fail({ errMsg: 'sendSocketMessage:fail' });
  assert.deepEqual(done, [undefined, 'sendSocketMessage:fail']);

  it.socket.close(1000, 'bye');
  assert.deepEqual(it.closes, [{ code: 1000, reason: 'bye' }]);
  assert.equal(it.socket.ping, undefined);
});
