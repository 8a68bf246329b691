//! The frontend's side of the gateway: gRPC over standard input and output, which BuildKit serves.
//!
//! One connection, one caller, no timeouts: BuildKit ends the frontend when the user ends the build.

use hone_contract::{chain, printable};
use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use prost::Message;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

use crate::error::FrontendError;
use crate::llb::Output;
use crate::proto::gateway::{
    Any, BuildResult, FileRange, Filesystems, ReadFileRequest, ReadFileResponse, Reference,
    ResolveImageConfigRequest, ResolveImageConfigResponse, ReturnRequest, ReturnResponse, RpcStatus, SolveRequest,
    SolveResponse,
};

/// Largest message read; BuildKit's own bound.
const MAX_MESSAGE: usize = 16 << 20;

/// BuildKit, which serves on the other end.
#[derive(Debug)]
pub struct Bridge {
    grpc: Grpc<Channel>,
}

impl Bridge {
    /// Takes standard input and output. Nothing is sent yet.
    pub fn stdio() -> Self {
        let stdio = || async {
            Ok::<_, std::io::Error>(TokioIo::new(tokio::io::join(tokio::io::stdin(), tokio::io::stdout())))
        };
        // The address is never looked up: there is one connection, and it is open.
        let channel = Endpoint::from_static("http://buildkit")
            .connect_with_connector_lazy(tower::service_fn(move |_: Uri| stdio()));
        Self { grpc: Grpc::new(channel).max_decoding_message_size(MAX_MESSAGE) }
    }

    /// The digest and the configuration of an image.
    ///
    /// # Errors
    /// What BuildKit says.
    pub async fn resolve(&mut self, ask: ResolveImageConfigRequest) -> Result<ResolveImageConfigResponse, Status> {
        self.call("/moby.buildkit.v1.frontend.LLBBridge/ResolveImageConfig", ask).await
    }

    /// Solves a graph; `now`: also when nothing of it is needed yet.
    ///
    /// # Errors
    /// What BuildKit says: the step that failed, and its last words.
    pub async fn solve(&mut self, output: &Output, now: bool) -> Result<Reference, FrontendError> {
        let ask = SolveRequest {
            definition: Some(output.definition()),
            allow_result_return: true,
            allow_result_array_ref: true,
            evaluate: now,
        };
        let answer: SolveResponse = self.call("/moby.buildkit.v1.frontend.LLBBridge/Solve", ask).await?;
        match answer.result.and_then(|result| result.result) {
            Some(Filesystems::One(reference)) => Ok(reference),
            _ => Err(FrontendError::Protocol("want one filesystem from a solved graph")),
        }
    }

    /// The first bytes of a file of a solved graph: all of it, or `most`.
    ///
    /// # Errors
    /// What BuildKit says.
    pub async fn read(&mut self, from: &Reference, path: &str, most: usize) -> Result<Vec<u8>, Status> {
        let range = Some(FileRange { offset: 0, length: most as i64 });
        let ask = ReadFileRequest { reference: from.id.clone(), path: path.to_owned(), range };
        let answer: ReadFileResponse = self.call("/moby.buildkit.v1.frontend.LLBBridge/ReadFile", ask).await?;
        Ok(answer.data)
    }

    /// Ends the build.
    ///
    /// # Errors
    /// When BuildKit does not take the result.
    pub async fn give(&mut self, result: Result<BuildResult, FrontendError>) -> Result<(), Status> {
        let ask = match result {
            Ok(result) => ReturnRequest { result: Some(result), error: None },
            Err(error) => ReturnRequest { result: None, error: Some(wire(error)) },
        };
        let _: ReturnResponse = self.call("/moby.buildkit.v1.frontend.LLBBridge/Return", ask).await?;
        Ok(())
    }

    async fn call<Ask, Answer>(&mut self, path: &'static str, ask: Ask) -> Result<Answer, Status>
    where
        Ask: Message + Send + Sync + 'static,
        Answer: Message + Default + Send + Sync + 'static,
    {
        let broken = |error: tonic::transport::Error| Status::unavailable(format!("reach BuildKit: {error}"));
        self.grpc.ready().await.map_err(broken)?;
        let codec = ProstCodec::<Ask, Answer>::default();
        let answer = self.grpc.unary(Request::new(ask), PathAndQuery::from_static(path), codec).await?;
        Ok(answer.into_inner())
    }
}

/// An error as BuildKit shows it: its own ones keep what they say of the step that failed.
fn wire(error: FrontendError) -> RpcStatus {
    let message = match &error {
        FrontendError::Honefile(mistake) => mistake.report(None, false),
        error => printable(&chain(error)).into_owned(),
    };
    let (FrontendError::BuildKit(status) | FrontendError::NoTrainer { status, .. }) = error else {
        // Any other code would be shown in front of the message.
        return RpcStatus { code: tonic::Code::Unknown as i32, message, details: vec![] };
    };
    let details: Vec<Any> = RpcStatus::decode(status.details()).map(|status| status.details).unwrap_or_default();
    RpcStatus { code: status.code() as i32, message, details }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buildkits_own_errors_keep_their_code_and_details() {
        let details = vec![Any { type_url: "github.com/moby/buildkit/stack.Stack+json".into(), value: vec![1] }];
        let inner = RpcStatus { code: 2, message: "exit code: 1".into(), details: details.clone() };
        let status = Status::with_details(tonic::Code::NotFound, "exit code: 1", inner.encode_to_vec().into());
        let sent = wire(FrontendError::BuildKit(Box::new(status)));
        assert_eq!(sent, RpcStatus { code: 5, message: "exit code: 1".into(), details });
        let sent = wire(FrontendError::Protocol("x"));
        assert_eq!(sent.code, 2);
    }
}
