// A proxy with a typical wrong configuration: it sends another Host than the browser did.
import { once } from 'node:events';
import { connect, createServer } from 'node:net';

// startProxy starts one in front of a program, on a free port, until test t ends. Like the program it has a url.
export async function startProxy(t, program) {
  const target = new URL(program.url);
  const sockets = new Set();
  const server = createServer((client) => {
    const upstream = connect(Number(target.port), target.hostname);
    for (const [from, to] of [[client, upstream], [upstream, client]]) {
      sockets.add(from);
      from.on('error', () => to.destroy());
      from.on('close', () => {
        sockets.delete(from);
        to.destroy();
      });
    }
    client.on('data', (chunk) => upstream.write(chunk.toString('latin1').replace(/^Host: .*$/mi, 'Host: upstream.internal'), 'latin1'));
    upstream.pipe(client);
  });
  t.after(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { url: `http://127.0.0.1:${server.address().port}/`, printed: (pattern) => program.printed(pattern) };
}
