// WeChat's sockets for socket.js: the one place that calls wx for them.
'use strict';

/** @type {import('./socket').Dial} */
function dial(url, protocols, on) {
  let opened = false;
  /** @param {{ errMsg: string }} result */
  const failed = ({ errMsg }) => {
    on.error(errMsg);
    // Whether a close follows is not documented for a socket that was never open; one is enough.
    if (!opened) on.close(1006, '');
  };
  // success and fail tell of the call alone, not of the connection, and the listeners have to be there at once.
  const task = wx.connectSocket({ url, fail: failed, ...(protocols.length > 0 ? { protocols } : {}) });
  task.onOpen(() => {
    opened = true;
    on.open();
  });
  task.onMessage(({ data }) => on.message(data));
  task.onError(failed);
  task.onClose(({ code, reason }) => {
    // What a suspended mini program is told when it comes back: nobody has closed anything.
    const interrupted = code === 1000 && reason === 'interrupted';
    on.close(interrupted ? 1006 : code || 1006, reason || '');
  });
  return {
    send: (data, done) => task.send({ data, success: () => done(), fail: ({ errMsg }) => done(new Error(errMsg)) }),
    close: (code, reason) => task.close({ code, reason }),
  };
}

module.exports = { dial };
