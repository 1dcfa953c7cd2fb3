// Node as uid 65532: certificates, TLS, time zones, languages, all modules, no shell and no npm.
const assert = require('assert');
const fs = require('fs');
const os = require('os');
const tls = require('tls');

process.removeAllListeners('warning');
assert.strictEqual(os.userInfo().username, 'nonroot');
assert(tls.rootCertificates.length > 100);
tls.createSecureContext();
for (const name of require('module').builtinModules) {
  require(name);
}
assert.match(new Date(0).toLocaleString('en', { timeZone: 'Asia/Tokyo' }), /9:00:00/);
assert.deepStrictEqual(['z', 'ä'].sort(new Intl.Collator('de').compare), ['ä', 'z']);
assert.throws(() => require('child_process').execSync('true'));
for (const path of ['/usr/bin/npm', '/usr/bin/npx', '/usr/bin/corepack', '/usr/include/node', '/bin/sh']) {
  assert(!fs.existsSync(path), path);
}
console.log('node is well:', process.version);
