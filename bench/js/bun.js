// Bun's server, as in its documentation.
import { cert, compress, control, key } from './control.js';

const server = Bun.serve({
  hostname: '127.0.0.1',
  port: 0,
  tls: cert && { cert: Bun.file(cert), key: Bun.file(key) },
  fetch(request, server) {
    if (!server.upgrade(request)) return new Response('Upgrade failed', { status: 500 });
  },
  websocket: {
    perMessageDeflate: compress && { compress: 'shared', decompress: 'shared' },
    open(ws) {
      ws.subscribe('all');
    },
    message(ws, message) {
      ws.send(message, compress);
    },
  },
});

control(server.port, { publish: (text) => server.publish('all', text), gc: () => Bun.gc(true) });
