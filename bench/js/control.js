// The driver's commands on standard input: see ../servers/main.go.
import { createInterface } from 'node:readline';

export const compress = process.env.BENCH_COMPRESS === '1';
export const cert = process.env.BENCH_TLS_CERT;
export const key = process.env.BENCH_TLS_KEY;

// control answers the driver. publish(text) sends to every connection.
export function control(port, { publish, gc }) {
  const commands = {
    usage() {
      const { user, system } = process.cpuUsage();
      return `${user} ${system}`;
    },
    gc() {
      gc();
      return 'ok';
    },
    async publish(n, size, interval) {
      const text = 'x'.repeat(size);
      const begin = performance.now();
      for (let i = 0; i < n; i++) {
        const wait = begin + (i * interval) / 1000 - performance.now();
        if (wait > 0) await new Promise((done) => setTimeout(done, wait));
        publish(text);
      }
      return 'ok';
    },
  };
  const lines = createInterface({ input: process.stdin });
  lines.on('line', async (line) => {
    const [name, ...args] = line.split(' ');
    const command = commands[name];
    console.log(command ? await command(...args.map(Number)) : `error: no command ${name}`);
  });
  lines.on('close', () => process.exit());
  console.log(`listening 127.0.0.1:${port}`);
}
