'use strict';

const { newLog } = require('./utils/log');

App({
  globalData: {
    // The server. On a phone it must be wss, with a domain on the mini program's list (README.md).
    // All options of utils/socket.js are allowed here.
    socket: {
      url: 'ws://localhost:8080/ws',
      protocols: ['greeter'],
      // A mini program cannot send a ping, so it sends a message that the server answers.
      heartbeat: { interval: 30 * 1000, timeout: 10 * 1000, message: 'ping', answer: 'pong' },
    },
    log: newLog(),
  },
});
