// A client that evergrant did not write: openid-client redeems one
// authorization code and refreshes once. What it is told comes as JSON on
// stdin; the rotated token goes to stdout, for evergrant to take over. That
// shows that the server is set up as the standards say, and that evergrant
// speaks to it as this client does.
import { readFileSync } from 'node:fs';
import { importPKCS8 } from 'jose';
import * as client from 'openid-client';

const ask = JSON.parse(readFileSync(0, 'utf8'));
const auth = {
  none: () => client.None(),
  client_secret_basic: () => client.ClientSecretBasic(ask.secret),
  private_key_jwt: async () => client.PrivateKeyJwt({ key: await importPKCS8(ask.privateKey, 'ES256'), kid: ask.kid }),
}[ask.auth];
const server = await client.discovery(new URL(ask.issuer), ask.client, undefined, await auth(), {
  execute: ask.issuer.startsWith('http:') ? [client.allowInsecureRequests] : [],
});
const first = await client.authorizationCodeGrant(server, new URL(ask.callback), { pkceCodeVerifier: ask.verifier });
const second = await client.refreshTokenGrant(server, first.refresh_token);
process.stdout.write(JSON.stringify({ spent: first.refresh_token, refresh: second.refresh_token, access: second.access_token }));
