#!/usr/bin/env node
// Spends an OAuth refresh token once, saves the next one, and only then delivers the access token.
//
// Needs Node 20 or newer, and gh for ghsecret:. Settings are variables:
//   EVERGRANT_REFRESH_TOKEN  the token to spend. CLAUDE_REFRESH_TOKEN in its place makes the next three those of Claude Code
//   EVERGRANT_TOKEN_URL      token endpoint: https, or http on a loopback address
//   EVERGRANT_CLIENT_ID      a public client; no client secret is sent. EVERGRANT_BODY: form, which is the default, or json
//   EVERGRANT_WRITE_BACK     where the next refresh token goes. file:PATH: once that file exists, its token is the one to spend.
//                            ghsecret:OWNER/REPO/NAME[?environment=E]: by gh, with GH_TOKEN. none: the token never changes
//   EVERGRANT_ENV_NAME       in GitHub Actions, a variable to set; the outputs access-token and expires-at-ms are always set there
// Elsewhere the access token, and nothing else, is on standard output. No request is sent twice. Exit: 0 delivered, 1 other,
// 2 settings, 3 sign in again, 4 in doubt, 5 later, 6 nowhere to write, 7 NOT SAVED, 8 saved but not delivered, 10 refused.
//
// What only the evergrant program has: a lease, so that two jobs never spend one token (here you see to it that one runs at a
// time); a record of doubt after a lost reply; a seal, and a rescue block when saving fails (here that token is lost); one
// token for many jobs, refreshed only when it must be; a watch on clocks and on the end of the login.
import { spawnSync } from 'node:child_process'; import { randomBytes } from 'node:crypto';
import fs from 'node:fs'; import path from 'node:path'; import zlib from 'node:zlib';
import http from 'node:http'; import net from 'node:net'; import tls from 'node:tls';

const VERSION = '0.1.0', LIMIT = 1 << 20, CONNECT = 10_000, ANSWER = 20_000, PAUSES = [0, 1000, 2000, 4000]; // bytes of an answer; ms
const env = process.env, ACTIONS = env.GITHUB_ACTIONS === 'true', OURS = ['EVERGRANT_REFRESH_TOKEN', 'CLAUDE_REFRESH_TOKEN'];
const CLAUDE = { TOKEN_URL: 'https://platform.claude.com/v1/oauth/token', CLIENT_ID: '9d1c250a-e61b-44d9-88ed-5944d1962f5e', BODY: 'json' };
const CODES = { invalid_grant: 3, refresh_token_expired: 3, refresh_token_reused: 3, refresh_token_invalidated: 3, token_expired: 3, interaction_required: 3, slow_down: 5, rate_limit_error: 5,
  server_error: 4, internal_error: 4, internal_server_error: 4, temporarily_unavailable: 4, invalid_client: 10, invalid_request: 10, unauthorized_client: 10, unsupported_grant_type: 10, invalid_scope: 10 };
const SPENT = 'the refresh token may be spent, and a spent one that comes again can end the login: do not just try again, sign in and store a new one';

function attempt(action) {
  try { return { value: action() }; } catch (error) { return { error }; }
}
function say(command, text) {
  const line = ACTIONS ? `::${command}::` + text.replaceAll('%', '%25').replaceAll('\r', '%0D').replaceAll('\n', '%0A') : text;
  return attempt(() => fs.writeSync(2, line + '\n')).value > 0; // a log that nobody reads must not end a save
}
const mask = (secret) => !ACTIONS || [secret, ...secret.split(/\s+/).filter(Boolean)].map((part) => say('add-mask', part)).every(Boolean);
function stop(code, text) {
  const nothing = { 2: '; nothing was sent', 5: '; nothing was spent', 6: '; nothing was spent', 10: '; nothing was spent' }[code] ?? '';
  say('error', `refresh.mjs: ${text}${nothing}`.replace(/[^ -~]/g, '?'));
  process.exit(code);
}
const printable = (token) => typeof token === 'string' && /^[!-~]+$/.test(token);
const why = (e) => e.code ?? e.message;

function settings() {
  const place = env.EVERGRANT_WRITE_BACK || stop(6, 'EVERGRANT_WRITE_BACK is not set, and the next refresh token would be lost: '
    + 'set file:PATH or ghsecret:OWNER/REPO/NAME, or none if the provider never changes the token');
  const found = /^(?:none|file:([^\0\n]+)|ghsecret:([\w.-]+\/[\w.-]+)\/([A-Za-z_]\w*)(?:\?environment=([\w.-]+))?)$/.exec(place)
    ?? stop(2, 'EVERGRANT_WRITE_BACK is neither file:PATH nor ghsecret:OWNER/REPO/NAME[?environment=E] nor none');
  const claude = !env[OURS[0]] && Boolean(env[OURS[1]]), defaults = claude ? CLAUDE : { BODY: 'form' };
  if (claude && place === 'none') stop(2, "EVERGRANT_WRITE_BACK is none, and Claude's refresh tokens rotate: the next one would be lost");
  const [url, client, body] = Object.keys(CLAUDE).map((n) => env['EVERGRANT_' + n] || defaults[n] || stop(2, `EVERGRANT_${n} is not set`));
  if (!['form', 'json'].includes(body)) stop(2, 'EVERGRANT_BODY is neither form nor json');
  const octet = String.raw`(25[0-5]|2[0-4]\d|1?\d{1,2})`, port = String.raw`([1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d{2}|655[0-2]\d|6553[0-5]|[1-9]\d{0,3})`;
  const near = String.raw`localhost|127([.]${octet}){3}|\[::1\]`, named = String.raw`([\w-]+[.])*[a-z][\w-]*|${octet}([.]${octet}){3}`;
  const good = new RegExp(`^(https://(${near}|${named})|http://(${near}))(:${port})?([/?][!-"$-~]*)?$`, 'i');
  if (!good.test(url) || !URL.canParse(url)) stop(2, 'EVERGRANT_TOKEN_URL is no URL like https://HOST/PATH, without user and fragment; http is for loopback addresses only');
  if (new URL(url).hostname.startsWith('console.anthropic.')) stop(2, `${new URL(url).hostname} serves this no more, ${CLAUDE.TOKEN_URL} does`);
  const name = ACTIONS && env.EVERGRANT_ENV_NAME;
  const fit = /^(?!(GITHUB|RUNNER|ACTIONS|INPUT|LD|DYLD)_|(CI|PATH|HOME|SHELL|BASH_ENV|NODE_OPTIONS)$)[a-z_]\w*$/i.test(name);
  if (name && !fit) stop(2, 'EVERGRANT_ENV_NAME is no name of a variable, or the name of one that steers the job');
  for (const file of [ACTIONS && 'GITHUB_OUTPUT', name && 'GITHUB_ENV'].filter(Boolean)) if (attempt(() => fs.accessSync(env[file] ?? '', fs.constants.W_OK)).error) stop(2, file + ' names no file that can be written');
  return { url: new URL(url), client, body, name, file: found[1], secret: found[2] && found.slice(2), source: OURS[Number(claude)] };
}

function current(file, source) { // the refresh token to spend: that of the file, once there is one
  let token = env[source];
  const there = file && fs.lstatSync(file, { throwIfNoEntry: false });
  if (there) [source, token] = [file, attempt(() => there.isFile() && fs.readFileSync(file, 'utf8')).value];
  if (there && !token) stop(6, file + ' should hold the current refresh token, and is empty, unreadable or no regular file');
  token = (token || stop(2, source + ' is not set, and there is no other refresh token')).replace(/[\r\n]+$/, '');
  return printable(token) ? [token, source] : stop(2, source + ' holds a space, a line break or what else is in no token');
}

function saveFile(file, token) { // replaces the file at once or not at all; without a token, only proves that it can be done
  const folder = path.dirname(path.resolve(file)), temp = path.join(folder, '.evergrant-' + randomBytes(8).toString('hex'));
  try {
    const handle = fs.openSync(temp, 'wx', 0o600);
    fs.writeFileSync(handle, token ? token + '\n' : ' '.repeat(4096)); fs.fsyncSync(handle); fs.closeSync(handle);
    if (token) fs.renameSync(temp, file);
  } finally { fs.rmSync(temp, { force: true }); }
  attempt(() => fs.fsyncSync(fs.openSync(folder, 'r'))); // some file systems cannot sync a folder
}

function saveSecret([repository, name, environment], token) { // without a token, only proves by another secret that it can be done
  const host = env.GH_HOST || (env.GITHUB_SERVER_URL ?? '').split('://').at(-1); // of GitHub Enterprise: gh does not look there
  const all = { ...env, GH_PROMPT_DISABLED: '1', GH_HOST: host, GH_ENTERPRISE_TOKEN: env.GH_ENTERPRISE_TOKEN || (env.GH_TOKEN ?? '') };
  const clean = Object.fromEntries(Object.entries(all).filter(([key]) => !OURS.includes(key)));
  if (ACTIONS && [undefined, '', env.GITHUB_TOKEN].includes(env.GH_TOKEN || env.GH_ENTERPRISE_TOKEN)) throw new Error("GH_TOKEN is not set or is the job's own token");
  const gh = (verb, what, input = '') => {
    const argv = ['secret', verb, what, '--repo', repository, ...(environment ? ['--env', environment] : [])];
    const told = spawnSync('gh', argv, { input, env: clean, timeout: 30_000, detached: true });
    if (told.error?.code === 'ENOENT' && !token) stop(2, 'gh is not installed, and ghsecret: needs it');
    if (told.status !== 0) throw new Error('gh: ' + (/HTTP \d{3}/.exec(told.stderr)?.[0] ?? told.error?.code ?? 'exit ' + told.status));
  };
  gh('set', token ? name : name + '_EVERGRANT_PROBE', token ?? randomBytes(16).toString('hex'));
  if (!token) attempt(() => gh('delete', name + '_EVERGRANT_PROBE')); // a probe that stays behind means nothing
}

async function connect(url) { // whatever fails here has sent nothing
  const host = url.hostname.replace(/^\[|\]$/g, ''), secure = url.protocol === 'https:', port = Number(url.port) || (secure ? 443 : 80);
  const skipped = (env.no_proxy ?? env.NO_PROXY ?? '').split(/[\s,]+/).map((n) => n.replace(/^\*?\./, '')).filter(Boolean);
  const direct = !secure || /^(localhost|127\..*|::1)$/.test(host) || skipped.some((n) => n === '*' || host === n || host.endsWith('.' + n));
  const proxy = direct ? undefined : env.https_proxy || env.HTTPS_PROXY;
  const ready = (emitter, event) => new Promise((done, fail) => {
    const bound = setTimeout(() => emitter.destroy(Object.assign(new Error(), { code: 'ETIMEDOUT' })), CONNECT);
    emitter.once('error', fail).once(event, (...what) => { clearTimeout(bound); done(what); });
  });
  let answer, socket;
  if (proxy) {
    const via = attempt(() => new URL(proxy.includes('//') ? proxy : 'http://' + proxy)).value;
    if (via?.protocol !== 'http:') stop(2, 'HTTPS_PROXY is no URL like http://HOST:PORT: to any other proxy its password would go in clear text');
    const login = decodeURIComponent(`${via.username}:${via.password}`);
    const headers = via.username ? { 'Proxy-Authorization': 'Basic ' + Buffer.from(login).toString('base64') } : {};
    const ask = http.request({ host: via.hostname, port: via.port || 80, method: 'CONNECT', path: `${host}:${port}`, headers, agent: false });
    [answer, socket] = await ready(ask.end(), 'connect');
    if (answer.statusCode !== 200) throw new Error(`the proxy answered ${answer.statusCode}`);
  }
  const servername = net.isIP(host) ? '' : host;
  const connection = secure ? tls.connect({ host, port, socket, servername, rejectUnauthorized: true }) : net.connect({ host, port });
  await ready(connection, secure ? 'secureConnect' : 'connect');
  return connection;
}

async function exchange(connection, url, fields, body) { // the one request; returns status, headers and as much of the body as came
  const text = body === 'json' ? JSON.stringify(fields) : new URLSearchParams(fields).toString(), came = [];
  const headers = { Host: url.host, 'Content-Type': 'application/' + (body === 'json' ? 'json' : 'x-www-form-urlencoded'), 'Content-Length': Buffer.byteLength(text),
    Accept: 'application/json', 'Accept-Encoding': 'identity', 'User-Agent': 'evergrant-script/' + VERSION, Connection: 'close' };
  let answer, size = 0, raw = '';
  connection.on('data', (part) => (raw += raw.length > LIMIT ? '' : part.toString('latin1'))); // as it came, should its headers be too odd for Node
  await new Promise((done) => {
    const ask = http.request({ createConnection: () => connection, method: 'POST', path: url.pathname + url.search, headers, maxHeaderSize: LIMIT, insecureHTTPParser: true });
    const bound = setTimeout(() => ask.destroy(), ANSWER);
    ask.on('error', () => {}).on('close', () => { clearTimeout(bound); done(); }).on('response', (got) => {
      answer = got;
      got.on('error', () => {}).on('data', (part) => (size += part.length) > LIMIT ? ask.destroy() : came.push(part)); // a cut reply may hold a whole object
    });
    ask.end(text);
  });
  const odd = /^(?:HTTP\/1\.\d 1\d\d[^]*?\n\r?\n)*HTTP\/1\.\d ([2-5]\d\d)[^]*?\n\r?\n([^]*)/.exec(raw), packed = answer ? Buffer.concat(came) : Buffer.from(odd?.[2] ?? '', 'latin1');
  const unpack = () => zlib.gunzipSync(packed, { finishFlush: zlib.constants.Z_SYNC_FLUSH, maxOutputLength: LIMIT }); // gzip that nobody asked for
  const plain = packed.subarray(0, 2).toString('hex') === '1f8b' ? attempt(unpack).value ?? Buffer.of() : packed;
  return answer || odd ? [answer?.statusCode ?? Number(odd[1]), answer?.headers ?? {}, new TextDecoder().decode(plain)] : stop(4, 'in doubt: no answer came back; ' + SPENT);
}

function found(text, name) { // the last whole token of that name in what may be no JSON; a page may show a sample
  const whole = new RegExp(String.raw`(?<!\\)"${name}"\s*:\s*("(?:[!#-\[\]-~]|\\["/\\]|\\u[\dA-Fa-f]{4})+")`, 'g');
  return /^\s*<(!doctype|html)/i.test(text) ? undefined : [...text.matchAll(whole)].map((one) => JSON.parse(one[1])).filter(printable).at(-1);
}
function judge(source, token, status, headers, text) { // returns the object that holds tokens, or stops with what the answer means
  const reply = { ...attempt(() => JSON.parse(text)).value }, { error } = reply;
  if (!reply.access_token && !reply.refresh_token && !error && found(text, 'refresh_token')) for (const name of ['refresh_token', 'access_token', 'token_type']) reply[name] = found(text, name);
  const next = reply.refresh_token;
  if (status >= 200 && status < 300 && ((printable(next) && next !== token) || (!error && (reply.access_token || next)))) return reply;
  const named = error instanceof Object ? [error.code, error.type] : [error];
  const code = named.find((c) => typeof c === 'string' && Object.hasOwn(CODES, c)) ?? '', busy = code.startsWith('temp') && [429, 503].includes(status); // no other word is shown
  const wait = /^(\d{1,7}|[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} [\d:]{8} GMT)$/.exec(headers['retry-after'] ?? '');
  const fate = ((status < 500 || CODES[code] < 10) && !busy ? CODES[code] : undefined) ?? (status === 429 || (status === 503 && wait) ? 5 : status >= 300 && status < 500 && status !== 408 ? 10 : 4);
  const seen = `HTTP ${status}` + (code ? ', ' + code : /^\s*</.test(text) ? ', an HTML page' : '');
  return stop(fate, { 3: `the provider takes this refresh token no more (${seen}): it was spent, was revoked or has ended; sign in again and put a new one into ${source}`,
    4: `in doubt: the answer is of no use (${seen}); ${SPENT}`,
    5: `the provider says later (${seen}): try again ` + (wait ? `after Retry-After: ${wait[0]}` : 'in some minutes'),
    10: `the provider refused the request (${seen}), or blocks this address: check URL, client id and body; if they are right, the refresh token itself may be dead, so sign in again` }[fate]);
}

function deliver(access, name, life) {
  if (!ACTIONS) return fs.writeSync(1, access + '\n');
  const ends = ['number', 'string'].includes(typeof life) && /^\d{1,9}$/.test(life) ? [[env.GITHUB_OUTPUT, 'expires-at-ms', Date.now() + 1000 * life]] : [];
  for (const [file, key, value] of [[env.GITHUB_OUTPUT, 'access-token', access], ...ends, ...(name ? [[env.GITHUB_ENV, name, access]] : [])]) {
    const mark = 'evergrant_' + randomBytes(16).toString('hex'); // that no value can contain
    const open = fs.statSync(file).size && fs.readFileSync(file).at(-1) !== 10; // somebody left a line without its end
    fs.appendFileSync(file, `${open ? '\n' : ''}${key}<<${mark}\n${value}\n${mark}\n`);
  }
}

if (Number.parseInt(process.versions.node, 10) < 20) stop(2, 'this Node is older than 20'); else if (process.argv.length > 2) stop(2, 'there are no arguments: settings are variables, which the head of this script names');
const { url, client, body, name, file, secret, source: variable } = settings(), [token, source] = current(file, variable);
mask(token);
const save = file ? (next) => saveFile(file, next) : secret ? (next) => saveSecret(secret, next) : undefined, unproved = attempt(() => save?.()).error;
const give = file ? '' : ': give GH_TOKEN a fine-grained or App token with Secrets: write (Environments: write for an environment); GITHUB_TOKEN never can';
if (unproved) stop(6, `${file ?? 'a secret of ' + secret[0]} cannot be written (${why(unproved)})${give}`);
const connection = await connect(url).catch((e) => stop(5, `${url.hostname} cannot be reached (${why(e)}); try again later`));
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => {}); // the token is as good as spent: what comes must be saved, and takes seconds
const reply = judge(source, token, ...await exchange(connection, url, { grant_type: 'refresh_token', refresh_token: token, client_id: client }, body));
const { access_token: access, refresh_token: following, token_type: kind } = reply, rotated = following && following !== token;
const masked = [access, following].filter((s) => typeof s === 'string').map(mask).every(Boolean);
let lost = !rotated ? '' : printable(following) ? 'EVERGRANT_WRITE_BACK is none' : 'it is no printable text';
for (const pause of rotated && save && printable(following) ? PAUSES : []) {
  await new Promise((done) => setTimeout(done, pause));
  const { error } = attempt(() => save(following));
  lost = error ? why(error) : '';
  if (!error) break;
}
const saved = rotated ? 'its refresh token is saved' : 'the refresh token stays as it was';
const usable = printable(access) && (!kind || (typeof kind === 'string' && kind.toLowerCase() === 'bearer'));
const failed = masked ? attempt(() => usable && deliver(access, name, reply.expires_in)).error : new Error('it cannot be masked in the log');
if (lost) stop(7, `NOT SAVED: the new refresh token could not be kept (${lost}). It is gone with this process and printed `
  + `nowhere; the access token was ${usable && !failed ? 'delivered' : 'not delivered'}. Sign in again and store the new refresh token`);
if (!usable) stop(1, `the answer holds no access token that can be used as a bearer token; ${saved}`);
if (failed) stop(8, `the access token could not be delivered (${why(failed)}); ${saved}, so mend that and run this again`);
