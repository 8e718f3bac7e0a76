// Stands in for an action that works with an access token. It asks the provider
// whose token it is, tells by digest what it got, and leaves for the test what
// was in its environment. Then it prints the token, as careless tools do: the
// runner's mask is all that stands between that and the log.
import { createHash, randomUUID } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

const env = process.env;
const input = (name) => env[`INPUT_${name.toUpperCase()}`] ?? '';
const digest = (s) => (s === '' ? '' : createHash('sha256').update(s).digest('hex'));
const token = input('claude_code_oauth_token') || input('claude_access_token') || env.TOKEN || '';
const answer = await fetch(env.E2E_USERINFO, { headers: { authorization: `Bearer ${token}` } });
const who = answer.ok ? (await answer.json()).sub : '';
writeFileSync(join(env.E2E_REPORTS, `${randomUUID()}.json`), JSON.stringify({
  action: env.GITHUB_ACTION_REPOSITORY, node: process.version, status: answer.status, who,
  token: digest(token), variable: digest(env.CLAUDE_ACCESS_TOKEN ?? ''), expiresAt: input('claude_expires_at'),
  oauth: input('use_oauth'), refresh: digest(input('claude_refresh_token')), github: digest(input('github_token')),
  environment: Object.entries(env).filter(([, value]) => value !== token).map(([name, value]) => `${name}=${value}`),
}), { mode: 0o600 });
console.log(`the provider answers HTTP ${answer.status}; the token is ${token}`);
process.exit(answer.ok ? 0 : 1);
