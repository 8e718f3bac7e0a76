// An authorization server that evergrant did not write: oidc-provider with
// rotating refresh tokens and revocation of the whole grant on reuse.
//
// It reads its configuration as one JSON line on stdin and reports what it
// saw as JSON lines on stdout. A later line {"sync": N} on stdin is answered
// by {"event": "sync", "id": N} after everything reported so far, which gives
// the tests an order of events without waiting. It ends when stdin ends.
import { createServer } from 'node:http';
import { createServer as createTLSServer } from 'node:https';
import { createInterface } from 'node:readline';
import { createPublicKey } from 'node:crypto';
import { exportJWK, calculateJwkThumbprint } from 'jose';
import { Provider } from 'oidc-provider';

console.info = console.error; // the server's own notices are no events
const say = (event, members = {}) => process.stdout.write(`${JSON.stringify({ event, ...members })}\n`);

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const config = JSON.parse((await lines.next()).value);

const web = config.cert ? createTLSServer({ cert: config.cert, key: config.key }) : createServer();
await new Promise((resolve) => web.listen(0, '127.0.0.1', resolve));
const { port } = web.address();
const issuer = `${config.cert ? 'https' : 'http'}://${config.host}:${port}`;

const jwk = await exportJWK(createPublicKey(config.publicKey));
const kid = await calculateJwkThumbprint(jwk);

const client = (id, method, more) => ({
  client_id: id,
  token_endpoint_auth_method: method,
  application_type: 'native',
  redirect_uris: [config.redirect],
  grant_types: ['authorization_code', 'refresh_token'],
  response_types: ['code'],
  scope: 'openid offline_access email',
  ...more,
});

const provider = new Provider(issuer, {
  clients: [
    client('public', 'none'),
    // For people who sign in: by a browser that comes back, by pasting, by a device.
    client('person', 'none', {
      redirect_uris: ['http://127.0.0.1/callback', 'https://app.example.test/done'],
      grant_types: ['authorization_code', 'refresh_token', 'urn:ietf:params:oauth:grant-type:device_code'],
    }),
    client('basic', 'client_secret_basic', { client_secret: config.secret }),
    client('jwt', 'private_key_jwt', {
      token_endpoint_auth_signing_alg: 'ES256',
      jwks: { keys: [{ ...jwk, kid, alg: 'ES256', use: 'sig' }] },
    }),
  ],
  scopes: ['openid', 'offline_access', 'email'],
  // The dev interaction forms stand in for a person: the tests post them.
  features: {
    devInteractions: { enabled: true }, introspection: { enabled: true }, deviceFlow: { enabled: true }, revocation: { enabled: true },
  },
  claims: { openid: ['sub'], email: ['email'] },
  pkce: { required: (_, c) => c.clientAuthMethod === 'none' },
  rotateRefreshToken: true,
  issueRefreshToken: async (_, c, code) => c.grantTypeAllowed('refresh_token') && code.scopes.has('offline_access'),
  ttl: {
    AccessToken: Number(config.life), AuthorizationCode: 60, Grant: 3600, IdToken: 600, Interaction: 600, RefreshToken: 3600, Session: 3600,
  },
  cookies: { keys: ['end-to-end tests only'] },
  findAccount: async (_, id) => ({ accountId: id, claims: async () => ({ sub: id, email: `${id}@example.test` }) }),
});

const about = (ctx) => ({ client: ctx.oidc?.client?.clientId, grantType: ctx.oidc?.params?.grant_type });
provider.on('grant.success', (ctx) => say('grant.success', about(ctx)));
provider.on('grant.error', (ctx, err) => say('grant.error', { ...about(ctx), code: err.error, detail: err.error_detail ?? '' }));
provider.on('grant.revoked', (ctx) => say('grant.revoked', about(ctx)));
provider.on('refresh_token.saved', (token) => say('refresh_token.saved', { client: token.clientId }));
provider.on('refresh_token.consumed', (token) => say('refresh_token.consumed', { client: token.clientId }));
if (config.revokes) {
  const running = new Map(); // the newest access token of each grant
  provider.on('access_token.saved', async (token) => {
    const before = running.get(token.grantId);
    running.set(token.grantId, token);
    if (before) await before.destroy();
  });
}
provider.on('server_error', (_, err) => say('server_error', { detail: err.name }));

const answer = provider.callback();
web.on('request', (request, response) => {
  // Counted here, before the server's own logic: a request that it turns away
  // early is a token request all the same.
  if (request.method === 'POST' && request.url.startsWith('/token')) {
    say('token.request', { agent: request.headers['user-agent'] ?? '', http: request.httpVersion });
  }
  answer(request, response);
});
say('listening', { issuer, port, kid });

for await (const line of lines) say('sync', { id: JSON.parse(line).sync });
process.exit(0);
