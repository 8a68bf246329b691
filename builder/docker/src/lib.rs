//! docker's daemon over its socket: what Hone asks on each run, where docker's command line would take longer to start
//! than docker takes to answer.
//!
//! One request a connection ([`Daemon`]), one answer ([`Answer`]) that is bounded and whole, and one deadline for all of
//! it: a daemon that hangs is given up, however it hangs. Proxies of the environment are not asked.
//!
//! Refused here: contexts, ssh and TLS, which are docker's own command line's; retrying; an async runtime.

mod address;
mod answer;
mod daemon;
mod error;
mod load;
mod stream;

pub use address::Address;
pub use answer::Answer;
pub use daemon::{Daemon, get};
pub use error::Error;
