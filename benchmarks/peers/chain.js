// The 15 requests of benchmarks.http for k6, as the script sends them; the token is not verified.
import http from "k6/http";
import crypto from "k6/crypto";
import encoding from "k6/encoding";

const instances = Number(__ENV.CHAIN_INSTANCES);
const base = __ENV.PINGONE_BASE_URL;
const environment = __ENV.PINGONE_ENVIRONMENT_ID;
export const options = {
  scenarios: {
    chain: { executor: "shared-iterations", vus: Number(__ENV.CHAIN_CONCURRENCY), iterations: instances, maxDuration: "10m" },
  },
  maxRedirects: 0,
  summaryMode: "compact",
};

export function setup() {
  const answer = http.post(`${base}/${environment}/as/token`, { grant_type: "client_credentials" }, {
    headers: { Authorization: `Basic ${encoding.b64encode("w:w")}` },
  });
  return answer.json("access_token");
}

function assertion(client, audience, secret, value) {
  const now = Math.floor(Date.now() / 1000);
  const part = (data) => encoding.b64encode(JSON.stringify(data), "rawurl");
  const claims = { iss: client, sub: client, aud: audience, iat: now, exp: now + 300, jti: `${value}-${now}-${Math.random()}`, custom1: value };
  const text = `${part({ alg: "HS256", typ: "JWT" })}.${part(claims)}`;
  return {
    client_assertion: `${text}.${crypto.hmac("sha256", secret, text, "base64rawurl")}`,
    client_assertion_type: "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
  };
}

export default function (worker) {
  const api = `${base}/v1/environments/${environment}`;
  const auth = `${base}/${environment}`;
  const name = `k6-${__VU}-${__ITER}`;
  const post = (url, body) => {
    const answer = http.post(url, JSON.stringify(body), {
      headers: { Authorization: `Bearer ${worker}`, "Content-Type": "application/json" },
    });
    if (answer.status !== 201) throw new Error(`${url}: ${answer.status}`);
    return answer.json();
  };
  const app = post(`${api}/applications`, {
    enabled: true, name, description: "script", type: "WEB_APP", protocol: "OPENID_CONNECT", grantTypes: ["AUTHORIZATION_CODE"],
    responseTypes: ["CODE"], redirectUris: ["https://www.example.com"], tokenEndpointAuthMethod: "CLIENT_SECRET_JWT", pkceEnforcement: "OPTIONAL",
  });
  const bearer = { Authorization: `Bearer ${worker}` };
  const secret = http.get(`${api}/applications/${app.id}/secret`, { headers: bearer }).json("secret");
  const resource = post(`${api}/resources`, {
    name: `${name}-r`, description: "script", audience: `https://tf-${name}.example.com`, accessTokenValiditySeconds: 3600,
  });
  const scope = `tf:${name}:read`;
  const made = post(`${api}/resources/${resource.id}/scopes`, { name: scope, description: "custom scope" });
  post(`${api}/resources/${resource.id}/attributes`, {
    name: "clientAssertion_custom", value: "${#root.context.requestData.clientAssertion.custom1}",
  });
  post(`${api}/applications/${app.id}/grants`, { resource: { id: resource.id }, scopes: [{ id: made.id }] });
  const population = post(`${api}/populations`, { name: `${name}-p`, description: "script" });
  const user = post(`${api}/users`, {
    email: `${name}@example.com`, name: { given: "Token", family: "User" }, population: { id: population.id }, username: name,
  });
  http.put(`${api}/users/${user.id}/password`, JSON.stringify({ value: "2Federate!Now", forceChange: false }), {
    headers: { ...bearer, "Content-Type": "application/vnd.pingidentity.password.set+json" },
  }).json();
  const query = `response_type=code&client_id=${app.id}&redirect_uri=${encodeURIComponent("https://www.example.com")}&scope=${encodeURIComponent(scope)}`;
  let answer = http.get(`${auth}/as/authorize?${query}`);
  const flow = answer.headers.Location.match(/flowId=([^&]+)/)[1];
  http.get(`${auth}/flows/${flow}`).json();
  answer = http.post(`${auth}/flows/${flow}`, JSON.stringify({ username: name, password: "2Federate!Now" }), {
    headers: { "Content-Type": "application/vnd.pingidentity.usernamePassword.check+json" },
  });
  if (answer.json("status") !== "COMPLETED") throw new Error(answer.body);
  answer = http.get(`${auth}/as/resume?flowId=${flow}`);
  const code = answer.headers.Location.match(/code=([^&]+)/)[1];
  const signed = () => assertion(app.id, `${auth}/as`, secret, `value-${name}`);
  const form = { grant_type: "authorization_code", code, redirect_uri: "https://www.example.com", scope };
  const token = http.post(`${auth}/as/token`, { ...form, ...signed() }).json("access_token");
  if (!http.post(`${auth}/as/introspect`, { token, ...signed() }).json("active")) throw new Error("not active");
}
