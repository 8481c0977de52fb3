// The client module under Node, with the ws package. There is no page: an object keeps what a page would show.
import { createRequire } from 'node:module';
import { WebSocket } from 'ws';
import { Client } from './client.js';
import { WeChatServer } from './wechat-server.js';

const socket = createRequire(import.meta.url)('../../../examples/wechat/utils/socket.js');

const captions = { closed: 'Connect', connecting: 'Connecting…', open: 'Disconnect', closing: 'Closing…', reconnecting: 'Stop' };
const statuses = { closed: 'Not connected', connecting: 'Connecting', open: 'Connected', closing: 'Closing', reconnecting: 'Connection lost' };
const describe = (data) => (typeof data === 'string' ? data : data instanceof ArrayBuffer ? `${data.byteLength} bytes` : `a ${typeof data}`);

export const node = {
  name: 'node',
  start: (t, ...flags) => WeChatServer.start(t, ...flags),
  refusing: async (t) => (await WeChatServer.start(t, '-token', 's3cret')),
  echoesBytes: true,
  tellsStatus: true,

  // open returns a client of the server. options are those of the client module.
  async open(t, server, options = {}) {
    const lines = [];
    const seen = [captions.closed];
    const log = (kind, text = '') => {
      lines.push(`${kind} ${text}`.trim());
      shown.emit('change');
    };
    const url = server.ws();
    const client = new socket.Client(socket.webSocketDialer(WebSocket), { url, protocols: ['greeter'], ...options }, {
      change() {
        if (captions[client.state] !== seen.at(-1)) seen.push(captions[client.state]);
        shown.emit('change');
      },
      open: () => log('open', url),
      message: (data) => log('message', describe(data)),
      send: (data) => log('send', describe(data)),
      queue: (data) => log('queue', describe(data)),
      expire: (data) => log('expire', describe(data)),
      error: (text) => log('error', text),
      close: (code, reason) => log('close', `${code} ${reason}`),
      retry: (delay) => log('retry', `in ${(delay / 1000).toFixed(1)} s`),
    });
    t.after(() => client.close());
    const transmit = (data) => {
      try {
        client.send(data);
      } catch (err) {
        log('error', err.message);
      }
    };
    const shown = new Client({
      connect() {
        if (client.state === 'closed') client.connect();
        else client.close(1000, 'bye');
      },
      send: transmit,
      sendBytes: () => transmit(new Uint8Array([0, 1, 254, 255])),
      later(ms) {
        const { now } = Date;
        t.mock.method(Date, 'now', () => now() + ms);
      },
      back: () => client.wake(),
      chance: (value) => t.mock.method(Math, 'random', () => value),
      captions: () => seen,
      read: () => ({
        caption: captions[client.state],
        status: client.waiting === 0 ? statuses[client.state] : `${statuses[client.state]}, ${client.waiting} waiting`,
        lines,
      }),
    });
    return shown;
  },
};
