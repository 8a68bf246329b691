//! What the tests of this crate share: quick patience, seeded bytes, and the two registries.

#![allow(dead_code, missing_docs)]

pub mod distribution;
pub mod fake;
pub mod slow;

use std::io::{self, Cursor, Read};
use std::time::Duration;

use hone_contract::digest::Digest;
use hone_image::oci::Descriptor;
use hone_registry::{Client, Options, Repository, Retry};

/// Fails soon: tests do not wait.
pub fn quick() -> Retry {
    let ms = Duration::from_millis;
    Retry { attempts: 5, base: ms(1), cap: ms(5), total: Duration::from_secs(20) }
}

pub fn client() -> Client {
    Client::new(Options { retry: quick(), ..Options::default() })
}

/// A repository of a registry on this machine.
pub fn repository(client: &Client, host: &str, path: &str) -> Repository {
    client.repository(&format!("{host}/{path}:t").parse().expect("reference")).expect("repository")
}

/// Bytes that do not repeat, the same for everyone.
pub fn seeded(size: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

pub fn described(bytes: &[u8]) -> Descriptor {
    Descriptor::of("application/octet-stream", Digest::of(bytes), bytes.len() as u64)
}

/// Opens `bytes` at an offset, as a blob of the store would be.
pub fn opener(bytes: &[u8]) -> impl Fn(u64) -> io::Result<Box<dyn Read + Send>> + '_ {
    move |at| Ok(Box::new(Cursor::new(bytes[usize::try_from(at).expect("offset")..].to_vec())))
}

pub fn read(mut from: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).map(|_| bytes)
}

/// Says on stderr why a test does not run on this machine.
///
/// # Panics
/// In CI (`CI` is set): nothing is skipped there.
#[allow(clippy::print_stderr, reason = "a test says what it leaves out")]
pub fn skipped(reason: &str) {
    assert!(std::env::var_os("CI").is_none(), "{reason}, and in CI nothing is skipped");
    eprintln!("skipped: {reason}");
}

/// What the environment may say of proxies, which no test takes over.
const PROXIES: [&str; 8] =
    ["http_proxy", "https_proxy", "all_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"];

/// Starts one test of this program again, in another environment: a test cannot change its own.
pub fn again(test: &str, environment: &[(&str, &std::ffi::OsStr)]) {
    let mut program = std::process::Command::new(std::env::current_exe().expect("this test"));
    program.args(["--exact", test, "--nocapture"]).env_remove("REGISTRY_AUTH_FILE").env_remove("DOCKER_CONFIG");
    for name in PROXIES {
        program.env_remove(name);
    }
    let output = program.envs(environment.iter().copied()).output().expect("start this test");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
