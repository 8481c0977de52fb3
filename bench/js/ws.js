// ws on Node, as in its README.
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createTLSServer } from 'node:https';
import { WebSocketServer } from 'ws';
import { cert, compress, control, key } from './control.js';

const server = cert ? createTLSServer({ cert: readFileSync(cert), key: readFileSync(key) }) : createServer();
const perMessageDeflate = compress && {
  zlibDeflateOptions: { chunkSize: 1024, memLevel: 7, level: 3 },
  zlibInflateOptions: { chunkSize: 10 * 1024 },
  clientNoContextTakeover: true,
  serverNoContextTakeover: true,
};
const wss = new WebSocketServer({ server, perMessageDeflate });

wss.on('connection', (ws) => {
  ws.on('error', () => {}); // the driver resets its connections
  ws.on('message', (data, isBinary) => ws.send(data, { binary: isBinary }));
});

server.listen(0, '127.0.0.1', () => {
  control(server.address().port, {
    publish(text) {
      for (const client of wss.clients) client.send(text);
    },
    gc: globalThis.gc,
  });
});
