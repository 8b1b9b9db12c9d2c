//! The client API: HTTP/JSON as tabled in `shakedown_contracts::node`, so that `curl` works.
//!
//! A handler turns a request into a question for the loop and waits for the answer; it decides
//! nothing. A client that hangs up drops its handler, and the answer then finds nobody.
//!
//! Invariant: every answer is JSON, every error an `ApiError`. A request that the loop never saw
//! is answered 503 or 400 (certainly not done); one whose answer was lost 504 (may be done).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Json;
use axum::Router;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use shakedown_contracts::node::{ApiError, ApiErrorKind, CasRequest, PutRequest};
use shakedown_core::interface::{ClientReply, ClientRequest};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::error::NodeError;

/// Requests that may be open at once; more are answered 503.
const OPEN_REQUESTS_MAX: usize = 4096;
/// Longest body: opening some ten thousand accounts at once.
const BODY_BYTES_MAX: usize = 1 << 20;
/// Longest key.
const KEY_BYTES_MAX: usize = 1024;

/// A client's question on its way to the loop.
#[derive(Debug)]
pub struct OpenRequest {
    /// What it asks.
    pub request: ClientRequest,
    /// Where the answer goes; closed when the client has hung up.
    pub reply: oneshot::Sender<ClientReply>,
}

/// The queue between the API and the loop.
pub fn queue() -> (mpsc::Sender<OpenRequest>, mpsc::Receiver<OpenRequest>) {
    mpsc::channel(OPEN_REQUESTS_MAX)
}

/// Serves clients for as long as the runtime lives.
pub async fn serve(
    listener: TcpListener,
    node: String,
    requests: mpsc::Sender<OpenRequest>,
) -> Result<(), NodeError> {
    let listener = listener.tap_io(|connection| {
        // Without it small answers wait for the client's ACK; failing, they are late, not wrong.
        let _late_answers = connection.set_nodelay(true);
    });
    let open = Semaphore::new(OPEN_REQUESTS_MAX);
    let api = Arc::new(Api {
        node,
        requests,
        open,
        epoch: AtomicU64::new(0),
    });
    axum::serve(listener, router(api))
        .await
        .map_err(NodeError::Runtime)
}

fn router(api: Arc<Api>) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/keys/{key}", get(read).put(write))
        .route("/v1/keys/{key}/cas", post(compare_and_set))
        .route("/v1/accounts", post(open_accounts))
        .route("/v1/transfer", post(transfer))
        .route("/v1/accounts/read", post(read_accounts))
        .route("/v1/call/{key}", post(call))
        .fallback(unknown_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(api)
}

type Key = Result<Path<String>, PathRejection>;
type Body = Result<Bytes, BytesRejection>;

async fn status(State(api): State<Arc<Api>>) -> Response {
    api.answer(Ok(ClientRequest::Status)).await
}

async fn read(State(api): State<Arc<Api>>, key: Key) -> Response {
    api.answer(key_of(key).map(|key| ClientRequest::Get { key }))
        .await
}

async fn write(State(api): State<Arc<Api>>, key: Key, body: Body) -> Response {
    let request = key_of(key).and_then(|key| {
        let PutRequest { value } = parse(body)?;
        Ok(ClientRequest::Put { key, value })
    });
    api.answer(request).await
}

async fn compare_and_set(State(api): State<Arc<Api>>, key: Key, body: Body) -> Response {
    let request = key_of(key).and_then(|key| {
        let cas: CasRequest = parse(body)?;
        Ok(ClientRequest::Cas { key, cas })
    });
    api.answer(request).await
}

async fn open_accounts(State(api): State<Arc<Api>>, body: Body) -> Response {
    api.answer(parse(body).map(ClientRequest::OpenAccounts))
        .await
}

async fn transfer(State(api): State<Arc<Api>>, body: Body) -> Response {
    api.answer(parse(body).map(ClientRequest::Transfer)).await
}

async fn read_accounts(State(api): State<Arc<Api>>, body: Body) -> Response {
    api.answer(parse(body).map(ClientRequest::ReadAccounts))
        .await
}

async fn call(State(api): State<Arc<Api>>, key: Key) -> Response {
    api.answer(key_of(key).map(|key| ClientRequest::Call { key }))
        .await
}

async fn unknown_route(State(api): State<Arc<Api>>, method: Method, uri: Uri) -> Response {
    let message = format!(
        "{method} {} is not part of the API; try GET /v1/status",
        uri.path()
    );
    api.refuse(StatusCode::NOT_FOUND, ApiErrorKind::BadRequest, message)
        .await
}

async fn wrong_method(State(api): State<Arc<Api>>, method: Method, uri: Uri) -> Response {
    let message = format!("{} does not take {method}", uri.path());
    api.refuse(
        StatusCode::METHOD_NOT_ALLOWED,
        ApiErrorKind::BadRequest,
        message,
    )
    .await
}

fn key_of(key: Key) -> Result<String, String> {
    let Path(key) = key.map_err(|error| format!("the key cannot be read: {error}"))?;
    if key.len() > KEY_BYTES_MAX {
        return Err(format!(
            "a key of {} bytes; at most {KEY_BYTES_MAX}",
            key.len()
        ));
    }
    Ok(key)
}

fn parse<T: DeserializeOwned>(body: Body) -> Result<T, String> {
    let body = body.map_err(|error| {
        format!("the body cannot be read: {error}; at most {BODY_BYTES_MAX} bytes")
    })?;
    serde_json::from_slice(&body).map_err(|error| format!("the body is not understood: {error}"))
}

/// What the handlers share.
struct Api {
    node: String,
    requests: mpsc::Sender<OpenRequest>,
    open: Semaphore,
    /// The newest epoch in any answer so far, for errors that the loop has no part in.
    epoch: AtomicU64,
}

impl Api {
    /// Asks the loop, or says what is wrong with the request.
    async fn answer(&self, request: Result<ClientRequest, String>) -> Response {
        match request {
            Ok(request) => match self.ask(request).await {
                Ok(reply) => respond(reply),
                Err(error) => respond(ClientReply::Error(error)),
            },
            Err(message) => {
                let status = StatusCode::BAD_REQUEST;
                self.refuse(status, ApiErrorKind::BadRequest, message).await
            }
        }
    }

    async fn ask(&self, request: ClientRequest) -> Result<ClientReply, ApiError> {
        let overloaded = || {
            let message = format!("{OPEN_REQUESTS_MAX} requests are open; ask again later");
            self.error(ApiErrorKind::Unavailable, message)
        };
        let _open = self.open.try_acquire().map_err(|_| overloaded())?;
        let (reply, answer) = oneshot::channel();
        let queued = self.requests.try_send(OpenRequest { request, reply });
        queued.map_err(|_| overloaded())?;
        let reply = answer.await.map_err(|_| {
            let message = "the node ended while the request was under way".to_owned();
            self.error(ApiErrorKind::Indeterminate, message)
        })?;
        self.epoch.fetch_max(epoch_of(&reply), Ordering::Relaxed);
        Ok(reply)
    }

    /// An error of the API's own, after learning the newest epoch.
    async fn refuse(&self, status: StatusCode, kind: ApiErrorKind, message: String) -> Response {
        // A failed question leaves the epoch known so far.
        let _only_for_the_epoch = self.ask(ClientRequest::Status).await;
        (status, Json(self.error(kind, message))).into_response()
    }

    fn error(&self, error: ApiErrorKind, message: String) -> ApiError {
        let epoch = self.epoch.load(Ordering::Relaxed);
        ApiError {
            error,
            message,
            node: self.node.clone(),
            epoch,
            primary: None,
        }
    }
}

fn epoch_of(reply: &ClientReply) -> u64 {
    match reply {
        ClientReply::Status(status) => status.epoch,
        ClientReply::Value(answer) => answer.epoch,
        ClientReply::Done(answer) => answer.epoch,
        ClientReply::Accounts(answer) => answer.epoch,
        ClientReply::Error(error) => error.epoch,
    }
}

fn respond(reply: ClientReply) -> Response {
    match reply {
        ClientReply::Status(status) => Json(status).into_response(),
        ClientReply::Value(answer) => Json(answer).into_response(),
        ClientReply::Done(answer) => Json(answer).into_response(),
        ClientReply::Accounts(answer) => Json(answer).into_response(),
        ClientReply::Error(error) => {
            let status = StatusCode::from_u16(error.error.http_status())
                .expect("the contract's statuses are HTTP statuses");
            (status, Json(error)).into_response()
        }
    }
}
