// WeChat's sockets for socket.js. Only this file calls wx for them.
'use strict';

/** @type {import('./socket').Dial} */
function dial(url, protocols, on) {
  let opened = false;
  /** @param {{ errMsg: string }} result */
  const failed = ({ errMsg }) => {
    on.error(errMsg);
    // It is not documented whether a close follows for a socket that was never open. The client ignores a second one.
    if (!opened) on.close(1006, '');
  };
  // success and fail report on the call only, not on the connection, and the listeners have to be set at once.
  const task = wx.connectSocket({ url, fail: failed, ...(protocols.length > 0 ? { protocols } : {}) });
  task.onOpen(() => {
    opened = true;
    on.open();
  });
  task.onMessage(({ data }) => on.message(data));
  task.onError(failed);
  task.onClose(({ code, reason }) => {
    // A suspended mini program gets this event when it comes back, although nobody closed the connection.
    const interrupted = code === 1000 && reason === 'interrupted';
    on.close(interrupted ? 1006 : code || 1006, reason || '');
  });
  return {
    send: (data, done) => task.send({ data, success: () => done(), fail: ({ errMsg }) => done(new Error(errMsg)) }),
    close: (code, reason) => task.close({ code, reason }),
  };
}

module.exports = { dial };
