// The released program: named with its SHA-256 in release.json, fetched from
// the release of the Action's own repository, and compared before it is written
// as a program, and again each time before it is run.
import { createHash, randomBytes } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { dirname, join } from 'node:path';

const most = 64 << 20; // bytes; a program has about ten million
const within = 120_000; // milliseconds for the whole of it
const redirects = 5;

class ReleaseError extends Error {
  expected = true;
}

const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');

export const digestOf = (path) => sha256(readFileSync(path));

// released returns the path of the released program, or why there is none.
export async function released(root, target, signal) {
  const table = JSON.parse(readFileSync(join(root, 'action', 'release.json'), 'utf8'));
  const asset = table.assets[target];
  if (!asset) return { why: 'none is released' };
  const { GITHUB_SERVER_URL: server, GITHUB_ACTION_REPOSITORY: repository } = process.env;
  const path = join(process.env.RUNNER_TOOL_CACHE || process.env.RUNNER_TEMP, 'evergrant', table.version, target, asset.name);
  if (existsSync(path) && digestOf(path) === asset.sha256) return { path };
  if (!/^[\w.-]+\/[\w.-]+$/.test(repository ?? '')) {
    return { why: 'a release cannot be found, because GITHUB_ACTION_REPOSITORY names no repository' };
  }
  const from = new URL(`${server}/${repository}/releases/download/v${table.version}/${asset.name}`);
  const bytes = await fetched(from, table.version, signal);
  if (sha256(bytes) !== asset.sha256) {
    throw new ReleaseError(`what ${from} holds is not what this Action was released with: its SHA-256 is another. It was not run; nothing was sent. What to do: tell the owner of the copy that you use`);
  }
  mkdirSync(dirname(path), { recursive: true });
  const temp = `${path}.${randomBytes(8).toString('hex')}.tmp`;
  try {
    writeFileSync(temp, bytes, { flag: 'wx', mode: 0o755 });
    chmodSync(temp, 0o755); // whatever the umask is
    renameSync(temp, path);
  } finally {
    rmSync(temp, { force: true });
  }
  return { path };
}

const loopback = (url) => ['127.0.0.1', '[::1]', 'localhost'].includes(url.hostname);

async function fetched(from, version, signal) {
  const deadline = AbortSignal.any([signal, AbortSignal.timeout(within)]);
  let url = from;
  try {
    for (let i = 0; i <= redirects; i++) {
      if (url.protocol !== 'https:' && !(url.protocol === 'http:' && loopback(url) && loopback(from))) {
        throw new ReleaseError(`${url.origin} is not reached by https`);
      }
      const answer = await got(url, version, deadline);
      if (answer.bytes) return answer.bytes;
      url = new URL(answer.location, url);
    }
    throw new ReleaseError(`it was redirected more than ${redirects} times`);
  } catch (error) {
    if (signal.aborted) throw signal.reason;
    const why = deadline.aborted ? `it took longer than ${within / 1000} seconds` : error.message;
    throw new ReleaseError(`the released program cannot be fetched from ${from}: ${why}. Nothing was sent. What to do: run the job again, or look whether a proxy is in the way`);
  }
}

// got makes one request: the whole body, or where it is.
function got(url, version, signal) {
  const secure = url.protocol === 'https:';
  // Node before 24.5 knows no proxyEnv and connects by itself.
  const agent = secure ? new https.Agent({ proxyEnv: process.env }) : new http.Agent();
  return new Promise((resolve, reject) => {
    const request = (secure ? https : http).get(url, { agent, signal, headers: { 'User-Agent': `evergrant/${version}` } }, (response) => {
      const { statusCode: status, headers } = response;
      if ([301, 302, 303, 307, 308].includes(status) && headers.location) {
        response.destroy();
        resolve({ location: headers.location });
        return;
      }
      if (status !== 200) {
        response.destroy();
        reject(new ReleaseError(`HTTP ${status}`));
        return;
      }
      const chunks = [];
      let size = 0;
      response.on('data', (chunk) => {
        size += chunk.length;
        chunks.push(chunk);
        if (size > most) response.destroy(new ReleaseError(`it has more than ${most >> 20} MiB`));
      });
      response.on('error', reject);
      response.on('end', () => (response.complete ? resolve({ bytes: Buffer.concat(chunks) }) : reject(new ReleaseError('it ended early'))));
    });
    request.on('error', reject);
  });
}
