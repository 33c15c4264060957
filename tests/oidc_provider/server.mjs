// A Databricks workspace whose logins are granted by a real, certified OAuth server: `node server.mjs`.
// Prints {"url": …} once it accepts connections and lives until its stdin closes, so it never outlives its test run.
import { createServer } from 'node:http';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';

// The library's advice is meant for production servers, and its notices would go to stdout, where our address belongs.
console.info = () => {};
console.warn = () => {};
const { Provider } = await import('oidc-provider');

const { port = 0, accessTokenTtl = 3600, delayBeforeMs = 0, delayAfterMs = 0 } =
  JSON.parse(process.env.OIDC_PROVIDER_OPTIONS || '{}');

const CLIENT = 'databricks-cli';
const SCOPE = 'offline_access all-apis';
const USER = 'alice';
const DAY = 24 * 60 * 60;

// The issuer has to know its port, so the socket comes first.
const server = createServer();
await new Promise((listening) => server.listen(port, '127.0.0.1', listening));
const url = `http://127.0.0.1:${server.address().port}`;

const provider = new Provider(`${url}/oidc`, {
  clients: [
    {
      client_id: CLIENT,
      token_endpoint_auth_method: 'none',
      application_type: 'native', // RFC 8252: a loopback redirect may use any port
      redirect_uris: ['http://localhost'],
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
    },
  ],
  scopes: SCOPE.split(' '),
  routes: { authorization: '/v1/authorize', token: '/v1/token' },
  features: { devInteractions: { enabled: false } },
  interactions: { url: (_ctx, { uid }) => `/approve/${uid}` },
  findAccount: (_ctx, accountId) => ({ accountId, claims: () => ({ sub: accountId }) }),
  rotateRefreshToken: true,
  ttl: { AccessToken: accessTokenTtl, RefreshToken: DAY, Grant: DAY, Session: DAY },
  clockTolerance: 0, // by default an expired access token is honoured for another 15 s
});

// ---- the OAuth server, below /oidc

const counts = { code: 0, refresh: 0, refresh_ok: 0, errors: [] };
const senders = new Map(); // of each refresh token
const COUNTED = { authorization_code: 'code', refresh_token: 'refresh' };

provider.on('grant.success', ({ oidc }) => {
  if (oidc.params.grant_type === 'refresh_token') counts.refresh_ok += 1;
});
provider.on('grant.error', (_ctx, { error, error_detail, error_description }) => {
  counts.errors.push(`${error}: ${error_detail ?? error_description}`);
});

async function authorize(ctx, next) {
  // The library grants offline_access only to a request that says so; Databricks' clients do not say it.
  ctx.query = { ...ctx.query, prompt: 'consent' };
  await next();
}

async function token(ctx, next) {
  // Counted on arrival, before any delay, so that a test can wait for the moment a request is in flight.
  ctx.req.body = await text(ctx.req);
  const params = new URLSearchParams(ctx.req.body);
  const counted = COUNTED[params.get('grant_type')];
  if (counted) counts[counted] += 1;
  const sent = params.get('refresh_token');
  if (sent) senders.set(sent, [...(senders.get(sent) ?? []), ctx.get('user-agent')]);

  await sleep(delayBeforeMs);
  await next();
  await sleep(delayAfterMs);
}

const OIDC = { '/v1/authorize': authorize, '/v1/token': token };

async function newGrant() {
  const grant = new provider.Grant({ accountId: USER, clientId: CLIENT });
  grant.addOIDCScope(SCOPE);
  return grant.save();
}

async function approve(ctx) {
  const consent = { login: { accountId: USER }, consent: { grantId: await newGrant() } };
  ctx.redirect(await provider.interactionResult(ctx.req, ctx.res, consent));
}

// ---- the workspace's API

function databricksConfig(ctx) {
  ctx.body = { oidc_endpoint: `${url}/oidc`, workspace_id: '900800700600' };
}

function forTokenHolders(body) {
  return async (ctx) => {
    const bearer = ctx.get('authorization').replace(/^Bearer /, '');
    const accessToken = await provider.AccessToken.find(bearer);
    const alive = accessToken && (await provider.Grant.find(accessToken.grantId));
    ctx.status = alive ? 200 : 401;
    ctx.body = alive ? body : { error_code: 401, message: 'The access token is invalid' };
  };
}

// ---- what tests ask for

async function login(ctx) {
  const client = await provider.Client.find(CLIENT);
  const session = { accountId: USER, client, grantId: await newGrant(), gty: 'authorization_code', scope: SCOPE };
  const accessToken = new provider.AccessToken(session);
  ctx.body = {
    access_token: await accessToken.save(),
    refresh_token: await new provider.RefreshToken(session).save(),
    expires_in: accessToken.expiration,
  };
}

const WORKSPACE = {
  'GET /.well-known/databricks-config': databricksConfig,
  'GET /api/2.0/preview/scim/v2/Me': forTokenHolders({ userName: `${USER}@example.com` }),
  'GET /api/2.0/serving-endpoints': forTokenHolders({ endpoints: [] }),
  'POST /_test/login': login,
  'GET /_test/grants': (ctx) => {
    ctx.body = counts;
  },
  'GET /_test/senders': (ctx) => {
    ctx.body = senders.get(ctx.query.refresh_token) ?? [];
  },
};

provider.use(async (ctx, next) => {
  if (ctx.path.startsWith('/oidc/')) {
    ctx.req.baseUrl = '/oidc'; // where the provider finds the prefix of the addresses it publishes
    ctx.url = ctx.url.slice('/oidc'.length);
    const handler = OIDC[ctx.path];
    return handler ? handler(ctx, next) : next();
  }
  if (ctx.path.startsWith('/approve/')) return approve(ctx);
  return WORKSPACE[`${ctx.method} ${ctx.path}`]?.(ctx);
});

server.on('request', provider.callback());
process.stdin.resume().on('end', () => process.exit());
console.log(JSON.stringify({ url }));
