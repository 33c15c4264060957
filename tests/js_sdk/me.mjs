// What the JavaScript SDK makes of a profile: `node me.mjs PROFILE` prints its headers, and who they are.
import sdk from '@databricks/sdk-experimental';

const config = new sdk.Config({ profile: process.argv[2] });
const headers = new Headers();
await config.authenticate(headers);
const answer = await fetch(`${config.host}/api/2.0/preview/scim/v2/Me`, { headers });
const me = await answer.json();
console.log(
  JSON.stringify({
    authorization: headers.get('authorization'),
    auth_type: config.authType,
    host: config.host,
    me: me.userName,
  }),
);
