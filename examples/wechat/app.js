'use strict';

const { newLog } = require('./utils/log');

App({
  globalData: {
    // The server: on a phone it has to be wss, of a domain that is on the mini program's list (README.md).
    // Whatever utils/socket.js calls an option can stand here.
    socket: {
      url: 'ws://localhost:8080/ws',
      protocols: ['greeter'],
      // A mini program cannot send a ping: it sends a message that the server answers.
      heartbeat: { interval: 30 * 1000, timeout: 10 * 1000, message: 'ping', answer: 'pong' },
    },
    log: newLog(),
  },
});
