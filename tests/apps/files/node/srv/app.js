// GET /count: how many have asked this process.
const http = require('node:http');

let visits = 0;
const server = http.createServer((_, answer) => {
  visits++;
  answer.end(`count ${visits}\n`);
});
server.listen(80);
process.on('SIGTERM', () => process.exit(0));
