// The mini program against the typings of WeChat's API.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'node:test';

const here = dirname(fileURLToPath(import.meta.url));
const tsc = join(dirname(createRequire(import.meta.url).resolve('typescript/package.json')), 'bin', 'tsc');

test('the mini program uses the API as it is typed', { timeout: 120_000 }, async () => {
  const { code, output } = await new Promise((resolve) => {
    execFile(process.execPath, [tsc, '--project', 'tsconfig.json', '--pretty', 'false', '--listFiles'], { cwd: here, timeout: 110_000 },
      (err, stdout, stderr) => resolve({ code: err ? err.code ?? err.signal : 0, output: stdout + stderr }));
  });
  assert.equal(code, 0, output.split('\n').filter((line) => line.includes('error')).join('\n'));
  for (const file of ['app.js', 'pages/index/index.js', 'pages/logs/logs.js', 'utils/socket.js', 'utils/wx.js']) {
    assert.ok(output.includes(`/examples/wechat/${file}`), `${file} was not checked`);
  }
});
