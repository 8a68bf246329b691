//! A containerd that answers what a test says: the calls of one message, and those that answer with several.

// What a test of the module around says in containerd's words.
pub(in crate::containerd) use containerd_client::services::v1 as api;
pub(in crate::containerd) use containerd_client::tonic::Code;
pub(in crate::containerd) use containerd_client::types;

use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use containerd_client::tonic::codegen::Bytes;
use containerd_client::tonic::codegen::http::{HeaderMap, HeaderValue, Request, Response};
use h2::server::SendResponse;
use h2::{RecvStream, server};
use prost::Message;
use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio::runtime::Builder;

use super::Client;
use crate::containerd::Containerd;

/// What comes of a call.
pub(in super::super) enum Answer {
    /// These messages.
    Messages(Vec<Vec<u8>>),
    /// It is refused.
    Refused(Code),
    /// Nothing at all.
    Silence,
}

impl Answer {
    /// One message.
    pub(in super::super) fn of(message: &impl Message) -> Self {
        Self::Messages(vec![message.encode_to_vec()])
    }
}

/// What is answered: by the method's name, and the message.
type Answers = dyn Fn(&str, &[u8]) -> Answer + Send + Sync;

/// It, as long as it is kept.
pub(in super::super) struct Fake {
    _dir: TempDir,
    socket: PathBuf,
}

impl Fake {
    /// Begins to listen.
    pub(in super::super) fn new(answers: impl Fn(&str, &[u8]) -> Answer + Send + Sync + 'static) -> Self {
        let dir = tempfile::tempdir().expect("directory");
        let socket = dir.path().join("containerd.sock");
        let listener = UnixListener::bind(&socket).expect("listen");
        let answers: Arc<Answers> = Arc::new(answers);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let answers = Arc::clone(&answers);
                thread::spawn(move || serve(stream, &answers));
            }
        });
        Self { _dir: dir, socket }
    }

    /// A connection to it that waits a second for each answer.
    pub(in super::super) fn client(&self) -> Client {
        let within = Duration::from_secs(1);
        Client::connect_within(&self.socket.display().to_string(), "default", within, within).expect("a connection")
    }

    /// It, as an engine.
    pub(in super::super) fn engine(&self) -> Containerd {
        Containerd::at(&self.socket.display().to_string(), "default")
    }
}

fn serve(stream: std::os::unix::net::UnixStream, answers: &Arc<Answers>) {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        stream.set_nonblocking(true).expect("a socket");
        let stream = UnixStream::from_std(stream).expect("a socket");
        let Ok(mut connection) = server::handshake(stream).await else { return };
        while let Some(Ok((request, respond))) = connection.accept().await {
            tokio::spawn(answer(request, respond, Arc::clone(answers)));
        }
    });
}

async fn answer(request: Request<RecvStream>, mut respond: SendResponse<Bytes>, answers: Arc<Answers>) {
    let method = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
    let (mut body, mut message) = (request.into_body(), Vec::new());
    while let Some(Ok(part)) = body.data().await {
        let _ = body.flow_control().release_capacity(part.len());
        message.extend(part);
    }
    // A message is behind a flag and its length (gRPC over HTTP/2).
    let (messages, code) = match answers(&method, message.get(5..).unwrap_or_default()) {
        Answer::Messages(messages) => (messages, Code::Ok),
        Answer::Refused(code) => (Vec::new(), code),
        Answer::Silence => return std::future::pending().await,
    };
    let mut head = Response::new(());
    head.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    let mut body = respond.send_response(head, false).expect("a head");
    for message in messages {
        let length = u32::try_from(message.len()).expect("a small message").to_be_bytes();
        body.send_data([&[0], &length[..], &message].concat().into(), false).expect("a message");
    }
    let mut end = HeaderMap::new();
    end.insert("grpc-status", HeaderValue::from(code as i32));
    end.insert("grpc-message", HeaderValue::from_static("no"));
    body.send_trailers(end).expect("an end");
}
