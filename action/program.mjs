// What the Action's two steps have in common: find the program, verify it, run
// it with the variables that it needs, and outlive it. What a step does is the
// program's business.
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { accessSync, appendFileSync, chmodSync, constants, existsSync, mkdirSync, mkdtempSync, realpathSync, rmSync, statSync } from 'node:fs';
import { constants as system } from 'node:os';
import { delimiter, isAbsolute, join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { digestOf, released } from './release.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const windows = process.platform === 'win32';
const arch = { x64: 'amd64', arm64: 'arm64' }[process.arch] ?? process.arch;
const target = `${windows ? 'windows' : process.platform}-${arch}`;
const suffix = windows ? '.exe' : '';

// The inputs of action.yml: no other INPUT_ variable is this Action's.
const inputs = `
  grant provider refresh-token token-url issuer client-id client-secret client-auth body scope param store key recipient
  min-ttl after force wait best-effort no-revoke-running no-create min-generation single-writer allow-public github-token
  git-token sink env-name keep-fresh keep-fresh-for notify notify-format`.trim().split(/\s+/);

// What every program needs to run at all, and to find its way out.
const always = `
  PATH HOME USER LOGNAME TMPDIR TEMP TMP LANG LC_ALL TZ
  SystemRoot ComSpec PATHEXT USERPROFILE LOCALAPPDATA APPDATA ProgramData
  HTTPS_PROXY https_proxy HTTP_PROXY http_proxy ALL_PROXY all_proxy NO_PROXY no_proxy
  SSL_CERT_FILE SSL_CERT_DIR GIT_SSL_CAINFO NO_COLOR`.trim().split(/\s+/);

// What the program reads of the job. GITHUB_TOKEN and its like are not here: a
// token is an input. By the tracking id the runner finds what a job has left running.
const job = `
  SSH_AUTH_SOCK XDG_STATE_HOME CI RUNNER_TRACKING_ID
  GITHUB_ACTIONS GITHUB_SERVER_URL GITHUB_REPOSITORY GITHUB_API_URL GITHUB_EVENT_PATH GITHUB_RUN_ID GITHUB_RUN_ATTEMPT
  GITHUB_OUTPUT GITHUB_ENV GITHUB_STATE GITHUB_STEP_SUMMARY GITHUB_WORKSPACE RUNNER_TEMP RUNNER_DEBUG`.trim().split(/\s+/);

// What go reads: where modules come from. They are held to go.sum when they are
// fetched, and never again, so the job's own caches are not used.
const toolchain = `GOPROXY`.trim().split(/\s+/);

function pick(names) {
  const env = {};
  for (const name of names) if (process.env[name]) env[name] = process.env[name];
  return env;
}

// The folders in which only the system's owner writes: their git and ssh go
// before one that an earlier step has put into PATH.
const folders = ['/usr/bin', '/bin'];

// environment is the program's. Of all that the job has set it gets the names
// only, to warn of one that shadows the token.
function environment() {
  const state = Object.keys(process.env).filter((name) => name.startsWith('STATE_'));
  const set = Object.keys(process.env).filter((name) => process.env[name] && !name.includes('\n'));
  return {
    ...pick([...always, ...job, ...state, ...inputs.map((name) => `INPUT_${name.toUpperCase()}`)]),
    ...(windows ? {} : { PATH: [...folders, process.env.PATH].filter(Boolean).join(delimiter) }),
    EVERGRANT_ACTION_NAMES: set.join('\n'),
  };
}

class Refusal extends Error {}

// annotate tells an error in one line, beside the job's result.
function annotate(text) {
  const line = text.trim().replace(/\s*\n\s*/g, '; ').replace(/%/g, '%25').replace(/\r/g, '%0D');
  process.stderr.write(`::error title=evergrant::${line}\n`);
}

// The child that signals go to, and the first one that came.
let child;
let stopped;
const abort = new AbortController();

// outlive keeps this process alive while its child saves a token. A runner that
// cancels a job asks with SIGINT, again with SIGTERM, and then kills. On Windows
// it is the console that asks, and it asks the child as well: there is nothing
// to hand on, and a signal that Node sends kills.
function outlive() {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    process.on(signal, () => {
      stopped ??= signal;
      abort.abort(new Refusal(`stopped by ${signal} before anything was sent`));
      if (child && !windows) child.kill(signal);
    });
  }
}

// ended runs a program to its end.
function ended(path, args, options) {
  return new Promise((resolve, reject) => {
    child = spawn(path, args, { windowsHide: true, ...options });
    let said = '';
    child.stderr?.on('data', (chunk) => { said = (said + chunk).slice(-4096); });
    child.on('error', reject);
    child.on('close', (code, signal) => {
      child = undefined;
      resolve({ code, signal, said });
    });
  });
}

// shipped is the program that lies in the Action's own checkout.
function shipped() {
  const path = join(root, 'action', 'bin', `evergrant-${target}${suffix}`);
  if (!existsSync(path)) return undefined;
  if (!windows) {
    try {
      accessSync(path, constants.X_OK);
    } catch {
      chmodSync(path, 0o755);
    }
  }
  return path;
}

// lent names the folder of the job that a path lies in, by its name or by where
// its links lead. Every earlier step, and a checkout, can write there.
function lent(path) {
  const real = (p) => { try { return realpathSync(p); } catch { return p; } };
  for (const name of ['GITHUB_WORKSPACE', 'RUNNER_TEMP']) {
    const folder = process.env[name];
    if (!folder || !isAbsolute(folder)) continue;
    for (const [top, p] of [[folder, path], [real(folder), real(path)]]) {
      const way = relative(top, p);
      if (way && way !== '..' && !way.startsWith(`..${sep}`) && !isAbsolute(way)) return name;
    }
  }
  return undefined;
}

// onPath finds a program in the folders of PATH, and not in the working folder.
function onPath(name) {
  for (const dir of (process.env.PATH ?? '').split(delimiter)) {
    const path = join(dir, name + suffix);
    if (isAbsolute(dir) && existsSync(path) && statSync(path).isFile()) {
      const folder = lent(path);
      if (!folder) return path;
      throw new Refusal(`${name} would be run from ${path}, which lies below ${folder}, where every earlier step can write; it is not run, and nothing was sent. `
        + `What to do: put this step before the one that adds it to PATH, or install ${name} elsewhere`);
    }
  }
  return undefined;
}

const builtPath = () => join(process.env.RUNNER_TEMP, 'evergrant', 'bin', `evergrant${suffix}`);

// built makes the program from the sources of the checkout, from empty caches of
// its own: a module that lies unpacked in the job's cache, or an object file there,
// could be anybody's, and so could a program that lies there already.
async function built(go) {
  const path = builtPath();
  mkdirSync(join(path, '..'), { recursive: true, mode: 0o700 });
  process.stderr.write('evergrant: no program is shipped or released for this Action, so go builds it from its sources\n');
  const own = mkdtempSync(join(process.env.RUNNER_TEMP, 'evergrant-go-'));
  try {
    const { code, signal, said } = await ended(go, [
      'build', '-tags', 'nethttpomithttp2', '-trimpath', '-buildvcs=false', '-ldflags=-s -w', '-o', path, './cmd/evergrant',
    ], {
      cwd: root, stdio: ['ignore', 'ignore', 'pipe'], timeout: 15 * 60_000,
      env: {
        ...pick([...always, ...toolchain]), GOPATH: join(own, 'path'), GOMODCACHE: join(own, 'modules'), GOCACHE: join(own, 'cache'),
        CGO_ENABLED: '0', GOTOOLCHAIN: 'local', GOENV: 'off', GOFLAGS: '-mod=readonly -modcacherw', GOWORK: 'off',
      },
    });
    if (stopped) throw abort.signal.reason;
    if (code !== 0) {
      const why = said.trim().split('\n').slice(-3).join('\n') || `it ended with ${signal ?? `code ${code}`}`;
      throw new Refusal(`go could not build the program: ${why}. What to do: put actions/setup-go with the version of this Action's go.mod before this step, or use a copy that ships a program`);
    }
  } finally {
    rmSync(own, { recursive: true, force: true });
  }
  return path;
}

// find returns the program: the checkout's own, the released one, or one that is
// built. expected is the digest of what the main step ran, if that is known.
async function find(expected) {
  const near = shipped();
  if (near) return near;
  const release = await released(root, target, abort.signal);
  if (release.path) return release.path;
  if (expected && existsSync(builtPath()) && digestOf(builtPath()) === expected) return builtPath();
  const go = existsSync(join(root, 'go.mod')) && onPath('go');
  if (go) return built(go);
  throw new Refusal(`there is no program for ${target}: none is in action/bin, ${release.why}, and go is not in PATH to build it. `
    + 'What to do: put actions/setup-go before this step, or use a copy of this Action that ships a program');
}

function saveState(name, value) {
  if (!process.env.GITHUB_STATE) return;
  const end = `evergrant_${randomBytes(16).toString('hex')}`;
  appendFileSync(process.env.GITHUB_STATE, `${name}<<${end}\n${value}\n${end}\n`);
}

async function run(name) {
  if (!process.env.RUNNER_TEMP) throw new Refusal('RUNNER_TEMP is not set: this works only in a step of GitHub Actions');
  // Nothing was ever spilled or left running: there is nothing to do, and no program to fetch for it.
  if (name === 'post' && !process.env.STATE_keeper && !existsSync(join(process.env.RUNNER_TEMP, 'evergrant', 'spill'))) return 0;
  const expected = name === 'post' ? process.env.STATE_digest : undefined;
  const path = await find(expected);
  const digest = digestOf(path);
  if (expected && digest !== expected) {
    throw new Refusal(`${path} is not the program that this step began with; it is not run, and an unsaved record stays in ${process.env.RUNNER_TEMP}`);
  }
  if (name === 'main') saveState('digest', digest);
  if (stopped) throw abort.signal.reason;
  const { code, signal } = await ended(path, ['action', name], { stdio: 'inherit', env: environment() });
  if (signal) throw new Refusal(`the program was ended by ${signal} (${system.signals[signal] ?? '?'}); the post step takes to the store what it left on this machine's disk`);
  return code;
}

export async function step(name) {
  outlive();
  try {
    process.exitCode = await run(name);
  } catch (error) {
    annotate(error instanceof Refusal || error.expected ? error.message : `the program cannot be run: ${error.message}`);
    process.exitCode = 1;
  }
}
