//! The token endpoint: OAuth 2.0 client credentials (RFC 6749, sections 2.3.1 and 4.4),
//! the client's own in the body or in the Authorization header, for a resource (RFC 8707);
//! and the document that tells where it is (OpenID Connect Discovery 1.0, section 4).

use std::{collections::HashMap, convert::Infallible, io, sync::Arc};

use ::http::{HeaderMap, Method, Request, Response, StatusCode, header};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};

use super::token::Tokens;

const DISCOVERY: &str = "/.well-known/openid-configuration";
const TOKEN: &str = "/oauth/token";

/// Serves until dropped, or until the listener fails.
pub(crate) async fn serve(listener: TcpListener, tokens: Arc<Tokens>) -> io::Result<()> {
    let issuer: Arc<str> = format!("http://{}", listener.local_addr()?).into();
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        let (issuer, tokens) = (Arc::clone(&issuer), Arc::clone(&tokens));
        let service =
            service_fn(move |request| respond(request, Arc::clone(&issuer), Arc::clone(&tokens)));
        connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        // Only those that have ended: their tasks would otherwise pile up.
        while connections.try_join_next().is_some() {}
    }
}

async fn respond(
    request: Request<Incoming>,
    issuer: Arc<str>,
    tokens: Arc<Tokens>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes());
    let (status, answer) = match (&head.method, head.uri.path()) {
        (&Method::GET, DISCOVERY) => (StatusCode::OK, discovery(&issuer)),
        (&Method::POST, TOKEN) => grant(&head.headers, &body.unwrap_or_default(), &tokens),
        _ => (StatusCode::NOT_FOUND, json!({"error": "not_found"})),
    };
    let mut response = Response::new(Full::new(Bytes::from(answer.to_string())));
    *response.status_mut() = status;
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    Ok(response)
}

fn discovery(issuer: &str) -> Value {
    json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/oauth/authorize"),
        "token_endpoint": format!("{issuer}{TOKEN}"),
        "jwks_uri": format!("{issuer}/.well-known/jwks.json"),
        "grant_types_supported": ["client_credentials"],
        "response_types_supported": ["code"],
        "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
    })
}

fn grant(headers: &HeaderMap, body: &[u8], tokens: &Tokens) -> (StatusCode, Value) {
    let refuse = |status, error: &str| (status, json!({"error": error}));
    let form: HashMap<_, _> = form_urlencoded::parse(body).into_owned().collect();
    let field = |name: &str| form.get(name).cloned();
    if field("grant_type").as_deref() != Some("client_credentials") {
        return refuse(StatusCode::BAD_REQUEST, "unsupported_grant_type");
    }
    let shown = basic(headers).or_else(|| Some((field("client_id")?, field("client_secret")?)));
    let terms = &tokens.terms;
    if shown.as_ref().is_none_or(|(client, secret)| {
        (client.as_str(), secret.as_str()) != (&terms.client, &terms.secret)
    }) {
        return refuse(StatusCode::UNAUTHORIZED, "invalid_client");
    }
    if field("resource").as_ref() != Some(&terms.resource) {
        return refuse(StatusCode::BAD_REQUEST, "invalid_target");
    }
    let answer = json!({
        "access_token": tokens.issue(),
        "token_type": "Bearer",
        "expires_in": terms.lifetime.as_secs(),
        "scope": terms.scope,
    });
    (StatusCode::OK, answer)
}

/// Id and secret, each encoded as in a form before they are joined.
fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let joined = STANDARD.decode(value.strip_prefix("Basic ")?).ok()?;
    let joined = String::from_utf8(joined).ok()?;
    let (client, secret) = joined.split_once(':')?;
    let plain = |text: &str| {
        let mut pairs = form_urlencoded::parse(text.as_bytes());
        pairs.next().map(|(name, _)| name.into_owned())
    };
    Some((plain(client)?, plain(secret)?))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hyper_util::{client::legacy::Client, rt::TokioExecutor};

    use super::*;
    use crate::{
        draw::{Draw, Purpose},
        ppoppo::token::Terms,
    };

    fn tokens() -> Arc<Tokens> {
        let terms = Terms {
            client: "a client".to_owned(),
            secret: "s+t".to_owned(),
            lifetime: Duration::from_secs(60),
            events: Some(1),
            resource: "http://h:1/ext".to_owned(),
            scope: "chat.send chat.read".to_owned(),
        };
        Tokens::new(terms, Draw::new(1, Purpose::Tokens), Arc::default())
    }

    #[test]
    fn a_client_shows_itself_in_the_body_or_in_the_header() {
        let tokens = tokens();
        let mut headers = HeaderMap::new();
        let resource = "grant_type=client_credentials&resource=http://h:1/ext";
        let body = format!("{resource}&client_id=a+client&client_secret=s%2Bt");
        let (status, answer) = grant(&headers, body.as_bytes(), &tokens);
        assert_eq!(
            (status, &answer["expires_in"]),
            (StatusCode::OK, &json!(60))
        );
        assert_eq!(answer["scope"], "chat.send chat.read");
        let token = answer["access_token"].as_str().unwrap();
        assert!(tokens.admit(token).is_ok());
        let joined = STANDARD.encode("a+client:s%2Bt");
        let basic = format!("Basic {joined}").parse().unwrap();
        headers.insert(header::AUTHORIZATION, basic);
        let (status, again) = grant(&headers, resource.as_bytes(), &tokens);
        assert_eq!(status, StatusCode::OK);
        assert_ne!(again["access_token"], answer["access_token"]);
    }

    #[test]
    fn no_other_client_no_other_grant_and_no_other_resource() {
        let headers = HeaderMap::new();
        for (body, error) in [
            (
                "grant_type=client_credentials&client_id=a+client",
                "invalid_client",
            ),
            (
                "grant_type=client_credentials&client_id=x&client_secret=s%2Bt",
                "invalid_client",
            ),
            ("grant_type=password", "unsupported_grant_type"),
            ("", "unsupported_grant_type"),
            (
                "grant_type=client_credentials&client_id=a+client&client_secret=s%2Bt",
                "invalid_target",
            ),
            (
                "grant_type=client_credentials&client_id=a+client&client_secret=s%2Bt&resource=http://h:1/ext/",
                "invalid_target",
            ),
        ] {
            let (status, answer) = grant(&headers, body.as_bytes(), &tokens());
            assert!(status.is_client_error());
            assert_eq!(answer["error"], error, "{body}");
        }
    }

    #[tokio::test]
    async fn the_token_endpoint_is_found_by_discovery() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let served = tokio::spawn(serve(listener, tokens()));
        let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
        let at = format!("{issuer}{DISCOVERY}").parse().unwrap();
        let body = client.get(at).await.unwrap().into_body();
        let body = body.collect().await.unwrap().to_bytes();
        let found: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(found["issuer"], issuer);
        let at = found["token_endpoint"].as_str().unwrap();
        let request = Request::post(at).body(Full::default()).unwrap();
        let status = client.request(request).await.unwrap().status();
        assert_eq!(status, StatusCode::BAD_REQUEST, "it is there");
        served.abort();
    }
}
