//! Answers of what stands before a server: HTTP errors without a gRPC status.

use std::net::SocketAddr;

use bytes::Bytes;
use tokio::net::TcpListener;
use tonic::Code;

use super::*;
use crate::dial;

/// Answers every request so, with a body.
async fn server(status: u16, kind: &'static str, body: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    let response = http::Response::builder()
                        .status(status)
                        .header("content-type", kind)
                        .body(())
                        .unwrap();
                    let mut sending = respond.send_response(response, false).unwrap();
                    sending
                        .send_data(Bytes::from_static(body.as_bytes()), true)
                        .unwrap();
                }
            });
        }
    });
    address
}

async fn page(status: u16) -> SocketAddr {
    server(status, "text/html", "<html><h1>default backend</h1></html>").await
}

#[actix::test]
async fn an_error_of_http_is_no_connection() {
    for (status, code) in [
        (400, Code::Internal),
        (401, Code::Unauthenticated),
        (403, Code::PermissionDenied),
        (404, Code::Unimplemented),
        (429, Code::Unavailable),
        (500, Code::Unknown),
        (502, Code::Unavailable),
        (503, Code::Unavailable),
        (504, Code::Unavailable),
    ] {
        let address = page(status).await;
        let plan = Dial::new("ppoppo", &json!({"endpoint": format!("http://{address}")})).unwrap();
        let connection = dial::connect(&plan, None).await.unwrap();
        let (path, request) = dial::request(&plan, "/a.B/C", "t", Bytes::new()).unwrap();
        let call = dial::call(connection.requests(), plan.origin, path, request, 1_000);
        let refusal = call.await.unwrap_err();
        assert_eq!(refusal.code(), code, "{status}: {refusal:?}");
        let said = refusal.message();
        assert!(said.contains(&status.to_string()), "{said}");
    }
}

#[actix::test]
async fn a_page_that_is_not_found_stops_the_stream() {
    let fixture = Fixture::at(page(404).await, json!({})).await;
    fixture
        .until("stop", |f| f.status().state == State::Stopped)
        .await;
    let status = fixture.status();
    let error = status.last_error.unwrap();
    assert!(error.starts_with("UNIMPLEMENTED: "), "{error}");
    assert!(
        error.contains("HTTP 404") && error.contains("/ext"),
        "{error}"
    );
}

#[actix::test]
async fn a_gateway_that_refuses_the_token_has_it_renewed() {
    let tokens = TokenEndpoint::start(|asked| {
        let body = json!({"access_token": format!("token-{}", asked.number), "expires_in": 3600});
        (200, body.to_string())
    })
    .await;
    let body = r#"{"message": "the token has expired"}"#;
    let gateway = server(401, "application/json", body).await;
    let options = json!({"token_url": tokens.url, "client_id": "app"});
    let fixture = Fixture::at(gateway, options).await;
    fixture
        .until("stop", |f| f.status().state == State::Stopped)
        .await;
    assert_eq!(tokens.asked().len(), 2);
    let error = fixture.status().last_error.unwrap();
    assert!(error.starts_with("UNAUTHENTICATED: "), "{error}");
}
