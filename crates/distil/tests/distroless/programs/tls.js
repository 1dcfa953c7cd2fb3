// A TLS handshake with what is trusted by default: `tls.js PORT`.
const tls = require('tls');

const socket = tls.connect({ host: '127.0.0.1', port: Number(process.argv[2]), servername: 'localhost' }, () => {
  console.log('connected by', socket.getProtocol());
  socket.destroy();
});
socket.on('error', (error) => console.log('refused:', error.code));
